"""Definitions that RabbitMQ exports with everything in them that it can hold: here and there again."""
