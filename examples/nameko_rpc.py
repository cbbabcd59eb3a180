"""A service and a call of it with Nameko.

    python examples/nameko_rpc.py [amqp://guest:guest@127.0.0.1:5672/]

Calls a service in this process twice and ends. Needs nameko.
"""

from __future__ import annotations

import sys

import eventlet

eventlet.monkey_patch()

from nameko.containers import ServiceContainer  # noqa: E402 - eventlet comes first
from nameko.exceptions import RemoteError  # noqa: E402
from nameko.rpc import rpc  # noqa: E402
from nameko.standalone.rpc import ServiceRpcProxy  # noqa: E402

CONFIG = {"AMQP_URI": sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/"}


class Greeter:
    """The service: what is marked may be called from other processes."""

    name = "example_nameko"

    @rpc
    def greet(self, who: str) -> str:
        if not who:
            raise ValueError("whom?")
        return f"hello {who}"


def main() -> None:
    container = ServiceContainer(Greeter, CONFIG)
    container.start()
    with ServiceRpcProxy(Greeter.name, CONFIG, timeout=10) as greeter:
        print(greeter.greet("world"))
        try:
            greeter.greet("")
        except RemoteError as error:
            print("the service has failed:", error)
    container.stop()


if __name__ == "__main__":
    main()
