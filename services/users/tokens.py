"""Access tokens: JWTs (RFC 7519) signed with Ed25519 (RFC 8037), and the public keys that verify them (RFC 7517)."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chassis import wall_clock
from chassis.auth.identity import ALGORITHM, AUDIENCE, ISSUER
from chassis.background import forever

# Seconds for which a new key is published before anything is signed with it: by then every copy of this service
# publishes it, whichever made it, and a process that fetches the keys of an unknown token gets them.
PUBLISHED_FIRST = 30.0
# Seconds between two looks for a key that is due, or that another copy has made.
POLL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key pair. `seed` is the private key's 32 bytes, `made_at` in Unix seconds."""

    id: str
    seed: bytes
    made_at: float = 0.0


def new_signing_key() -> SigningKey:
    """A fresh key, named by the beginning of its public key's SHA-256."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return SigningKey(
        hashlib.sha256(public).hexdigest()[:16], private.private_bytes_raw(), round(wall_clock.seconds(), 3)
    )


class JwtSigner:
    """Signs with the newest key that was published long enough ago; publishes every key, so older tokens stay valid."""

    def __init__(self, keys: Sequence[SigningKey], *, lifetime: int) -> None:
        """`keys`, newest first; `lifetime` of a token in seconds."""
        self._lifetime = lifetime
        self._keys: Sequence[SigningKey] = ()
        self._privates: dict[str, Ed25519PrivateKey] = {}
        self._jwks = ""
        self.use(keys)

    def use(self, keys: Sequence[SigningKey]) -> None:
        """Use these keys from now on, newest first."""
        if keys == self._keys:
            return
        self._keys = keys
        self._privates = {key.id: Ed25519PrivateKey.from_private_bytes(key.seed) for key in keys}
        self._jwks = json.dumps({"keys": [_public_jwk(key) for key in keys]})

    def sign(self, subject: str, role: str, audience: str = AUDIENCE, *, until: float = math.inf) -> tuple[str, int]:
        now = int(wall_clock.seconds())
        lifetime = min(self._lifetime, int(until - now) if until < math.inf else self._lifetime)
        key_id = next(
            (key.id for key in self._keys if wall_clock.seconds() - key.made_at >= PUBLISHED_FIRST), self._keys[-1].id
        )
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": subject,
            "role": role,
            "iat": now,
            "exp": now + lifetime,
            "jti": uuid.uuid4().hex,
        }
        token = jwt.encode(claims, self._privates[key_id], algorithm=ALGORITHM, headers={"kid": key_id})
        return token, lifetime

    def jwks(self) -> str:
        return self._jwks


async def rotate(signer: JwtSigner, keys: Callable[[], Awaitable[Sequence[SigningKey]]]) -> None:
    """Sign with a new key when it is due, and publish those of other copies, as long as the process lives.

    `keys` returns all keys, newest first, with a new one if it is due.
    """

    async def use_keys() -> None:
        signer.use(await keys())

    await forever(use_keys, name="signing key rotation", every=POLL_SECONDS, first=POLL_SECONDS)


def _public_jwk(key: SigningKey) -> dict[str, str]:
    public = Ed25519PrivateKey.from_private_bytes(key.seed).public_key().public_bytes_raw()
    x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": ALGORITHM, "kid": key.id, "x": x}
