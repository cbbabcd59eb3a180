"""Cordillera: an AMQP 0-9-1 message broker on a relational database."""

__version__ = "0.1.0"
