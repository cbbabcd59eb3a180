"""The address of a broker, from an `amqp://` URL."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """Host, port and credentials of one broker; an empty path means the virtual host `/`."""

    host: str = "127.0.0.1"
    port: int = 5672
    user: str = "guest"
    password: str = "guest"
    vhost: str = "/"

    @staticmethod
    def parse(url: str) -> "Address":
        """Read `amqp://user:password@host:port/vhost`."""
        parts = urlsplit(url)
        if parts.scheme != "amqp" or not parts.hostname:
            raise ValueError(f"'{url}' is not amqp://user:password@host:port/vhost")
        return Address(
            parts.hostname,
            parts.port or 5672,
            unquote(parts.username or "guest"),
            unquote(parts.password or "guest"),
            unquote(parts.path[1:]) or "/",
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
