"""The four signature schemes, as pure functions over raw bytes.

Each takes the body as it came, the request's headers (lower-case names), the keys (several while one is being rotated)
and, where the scheme signs a timestamp, the present time in Unix seconds. Each returns when the body is authentic and
raises otherwise:

* MALFORMED_SIGNATURE: a signature header that does not have the scheme's form;
* BAD_SIGNATURE: no signature, or none that any of the keys has made;
* STALE_SIGNATURE: authentic, but signed more than five minutes ago or ahead. Without that bound a recorded request
  could be sent again for ever.

Signatures are compared in constant time, so that the time an answer takes discloses nothing of the expected one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence

from chassis.errors import Kind, ShopError

TOLERANCE = 300
_TIMESTAMP_DIGITS = 12

Headers = Mapping[str, str]
Keys = Sequence[bytes]
Scheme = Callable[[bytes, Headers, Keys, float], None]


def stripe(body: bytes, headers: Headers, keys: Keys, now: float) -> None:
    """`Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>…]` over `<t>.<body>`. Other versions are passed over.

    https://docs.stripe.com/webhooks#verify-manually
    """
    fields = [part.strip().partition("=") for part in _signature(headers, "stripe-signature").split(",")]
    timestamps = [value for name, _, value in fields if name == "t"]
    if len(timestamps) != 1:
        raise malformed("stripe-signature needs one t=")
    seconds = _seconds(timestamps[0], "stripe-signature")
    candidates = [value for name, _, value in fields if name == "v1"]
    if not candidates:
        raise malformed("stripe-signature needs a v1=")
    _match((_sha256(key, timestamps[0].encode() + b"." + body).hex() for key in keys), candidates)
    _check_age(seconds, now)


def github(body: bytes, headers: Headers, keys: Keys, now: float) -> None:  # noqa: ARG001  # no time is signed
    """`X-Hub-Signature-256: sha256=<hex>` over the body.

    https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
    """
    algorithm, _, candidate = _signature(headers, "x-hub-signature-256").partition("=")
    if algorithm != "sha256":
        raise malformed("x-hub-signature-256 begins with sha256=")
    _match((_sha256(key, body).hex() for key in keys), [candidate])


def shopify(body: bytes, headers: Headers, keys: Keys, now: float) -> None:  # noqa: ARG001  # no time is signed
    """`X-Shopify-Hmac-Sha256: <base64>` over the body.

    https://shopify.dev/docs/apps/build/webhooks/subscribe/https#step-2-validate-the-origin-of-your-webhook
    """
    candidate = _signature(headers, "x-shopify-hmac-sha256")
    _match((_base64(_sha256(key, body)) for key in keys), [candidate])


def standard(body: bytes, headers: Headers, keys: Keys, now: float) -> None:
    """`webhook-signature: v1,<base64>[ v1,<base64>…]` over `<webhook-id>.<webhook-timestamp>.<body>`.

    Signatures of other versions (`v1a`, with public keys) are passed over.
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    signatures = [part.partition(",") for part in _signature(headers, "webhook-signature").split(" ") if part]
    if not all(comma for _, comma, _ in signatures):
        raise malformed("webhook-signature is a list of <version>,<signature>")
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not event_id:
        raise malformed("webhook-id is missing")
    seconds = _seconds(timestamp, "webhook-timestamp")
    signed = f"{event_id}.{timestamp}.".encode("latin-1") + body
    candidates = [signature for version, _, signature in signatures if version == "v1"]
    _match((_base64(_sha256(key, signed)) for key in keys), candidates)
    _check_age(seconds, now)


def plain_key(secret: str) -> bytes:
    """The key of a secret that is used as it is written (Stripe, GitHub, Shopify)."""
    return secret.encode()


def standard_key(secret: str) -> bytes:
    """The key of a Standard Webhooks secret: base64, usually after `whsec_`. Raises `ValueError` when it is not."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("a Standard Webhooks secret is base64, after an optional whsec_") from error


def malformed(why: str) -> ShopError:
    return ShopError("MALFORMED_SIGNATURE", why, Kind.INVALID)


def _signature(headers: Headers, name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise ShopError("BAD_SIGNATURE", f"the request has no {name}", Kind.UNAUTHENTICATED)
    return value


def _seconds(text: str, header: str) -> int:
    # int() alone would take " 5", "+5", "1_000" and other scripts' digits, which no signer means.
    if not (text.isascii() and text.isdigit() and len(text) <= _TIMESTAMP_DIGITS):
        raise malformed(f"{header} needs a time in Unix seconds")
    return int(text)


def _sha256(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _match(expected: Iterable[str], candidates: Sequence[str]) -> None:
    offered = [candidate.encode() for candidate in candidates]
    for signature in expected:
        if any(hmac.compare_digest(signature.encode(), candidate) for candidate in offered):
            return
    raise ShopError("BAD_SIGNATURE", "the signature was not made with a secret that we share", Kind.UNAUTHENTICATED)


def _check_age(signed_at: int, now: float) -> None:
    if abs(now - signed_at) > TOLERANCE:
        age = round(now) - signed_at
        signed = f"{age} s old" if age >= 0 else f"{-age} s ahead of the receiver's clock"
        message = f"the signature is {signed}; the limit is {TOLERANCE} s either way"
        raise ShopError("STALE_SIGNATURE", message, Kind.UNAUTHENTICATED)
