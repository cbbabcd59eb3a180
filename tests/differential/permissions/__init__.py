"""Every method that a client may send, asked by users with every combination of permissions: of this broker and of
RabbitMQ.
"""
