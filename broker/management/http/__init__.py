"""RabbitMQ's management API over HTTP, and this broker's own resources beside it (docs/http-api.md)."""
