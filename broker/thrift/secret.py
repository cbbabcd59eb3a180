"""Mutual authentication of two nodes by a shared secret that is never sent (ADR 18).

The nodes exchange nonces, then proofs: HMAC-SHA256 over both nonces. The caller proves the secret first, so a caller
without the secret receives nothing that it could test guesses against.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

from broker.ports.peer_calls import Unauthorized

NONCE_OCTETS: Final = 32
LEAST_SECRET_OCTETS: Final = 16


def new_nonce() -> bytes:
    """Return random octets for one authentication."""
    return secrets.token_bytes(NONCE_OCTETS)


class SharedSecret:
    """The shared secret of a cluster. It has no method that returns the secret, so that it cannot get into a log."""

    __slots__ = ("_key",)

    def __init__(self, secret: str) -> None:
        key = secret.encode()
        if len(key) < LEAST_SECRET_OCTETS:
            raise ValueError(f"a shared secret of {len(key)} octets; at least {LEAST_SECRET_OCTETS} are needed")
        self._key = key

    def client_proof(self, client_nonce: bytes, server_nonce: bytes, channel: bytes = b"") -> bytes:
        """Return the proof that a caller sends; making it needs the secret.

        It is of use on no other `channel`: on one of another kind, or one that ends at a server with another key.
        """
        return self._proof(b"cordillera client 1", client_nonce, server_nonce, channel)

    def server_proof(self, client_nonce: bytes, server_nonce: bytes, channel: bytes = b"") -> bytes:
        """Return the proof that a server answers; making it needs the secret."""
        return self._proof(b"cordillera server 1", client_nonce, server_nonce, channel)

    def mark(self) -> str:
        """Return four digits by which nodes see in the database that their secrets are different.

        Slow to compute, and so short that of 65536 wrong guesses one fits: it confirms none.
        """
        return hashlib.scrypt(self._key, salt=b"cordillera clusterSecret", n=1 << 14, r=8, p=1, dklen=2).hex()

    def _proof(self, role: bytes, client_nonce: bytes, server_nonce: bytes, channel: bytes) -> bytes:
        for nonce in (client_nonce, server_nonce):
            if len(nonce) != NONCE_OCTETS:
                raise Unauthorized(f"a nonce of {len(nonce)} octets; it must have {NONCE_OCTETS}")
        return hmac.digest(self._key, role + client_nonce + server_nonce + channel, "sha256")


class Admission:
    """The server's side of authenticating one connection: `challenge`, then `authenticate`, each at most once."""

    __slots__ = ("_channel", "_client_nonce", "_new_nonce", "_secret", "_server_nonce", "is_admitted")

    def __init__(self, secret: SharedSecret | None, new_nonce: Callable[[], bytes], channel: bytes = b"") -> None:
        """Without a secret every caller is admitted."""
        self.is_admitted = secret is None
        self._channel = channel
        self._secret = secret
        self._new_nonce = new_nonce
        self._client_nonce = b""
        self._server_nonce = b""

    def challenge(self, client_nonce: bytes) -> bytes:
        """Take the caller's nonce and return the server's. Raises Unauthorized."""
        if self._secret is None:
            raise Unauthorized("this node has no shared secret; the caller has one")
        if self._client_nonce:
            raise Unauthorized("a second challenge on one connection")
        if len(client_nonce) != NONCE_OCTETS:
            raise Unauthorized(f"a nonce of {len(client_nonce)} octets; it must have {NONCE_OCTETS}")
        self._client_nonce = client_nonce
        self._server_nonce = self._new_nonce()
        return self._server_nonce

    def authenticate(self, client_proof: bytes) -> bytes:
        """Admit the caller and return the server's proof. Raises Unauthorized."""
        if self._secret is None or not self._server_nonce or self.is_admitted:
            raise Unauthorized("a proof without a challenge")
        proven = (self._client_nonce, self._server_nonce, self._channel)
        self._server_nonce = b""
        if not hmac.compare_digest(client_proof, self._secret.client_proof(*proven)):
            raise Unauthorized("the shared secret is another one")
        self.is_admitted = True
        return self._secret.server_proof(*proven)


def check_server(
    secret: SharedSecret, server_proof: bytes, client_nonce: bytes, server_nonce: bytes, channel: bytes = b""
) -> None:
    """Raise Unauthorized unless `server_proof` shows that the server has the secret."""
    if not hmac.compare_digest(server_proof, secret.server_proof(client_nonce, server_nonce, channel)):
        raise Unauthorized("the server does not know the shared secret")
