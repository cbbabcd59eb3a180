"""Scripted sessions that run here and against RabbitMQ, whose frames are compared (docs/contract.md)."""
