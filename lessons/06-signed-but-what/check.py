"""What is authentic is taken, whatever it looks like; what a stranger sends is refused before it is parsed."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable

import httpx

from lessons import kit
from lessons.kit import FAULT, Broken, Shop, Void

RECEIVER = os.environ["SHOP_WEBHOOKS_URL"]
LONG_AGO = 600


def digest(key: bytes, content: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).digest()


def keys(provider: str) -> list[bytes]:
    """The secrets that are shared with a provider; several while one is being replaced."""
    return [each.encode() for each in os.environ[f"SHOP_WEBHOOK_SECRET_{provider.upper()}"].split(",")]


def stripe(_: str, body: bytes, key: bytes, at: float) -> dict[str, str]:
    return {"Stripe-Signature": f"t={at:.0f},v1={digest(key, f'{at:.0f}.'.encode() + body).hex()}"}


def github(event: str, body: bytes, key: bytes, _: float) -> dict[str, str]:
    signature = f"sha256={digest(key, body).hex()}"
    return {"X-GitHub-Event": "push", "X-GitHub-Delivery": event, "X-Hub-Signature-256": signature}


def shopify(event: str, body: bytes, key: bytes, _: float) -> dict[str, str]:
    signature = base64.b64encode(digest(key, body)).decode()
    return {"X-Shopify-Topic": "a/b", "X-Shopify-Webhook-Id": event, "X-Shopify-Hmac-Sha256": signature}


def standard(event: str, body: bytes, key: bytes, at: float) -> dict[str, str]:
    raw = base64.b64decode(key.removeprefix(b"whsec_"))
    signature = base64.b64encode(digest(raw, f"{event}.{at:.0f}.".encode() + body)).decode()
    return {"webhook-id": event, "webhook-timestamp": f"{at:.0f}", "webhook-signature": f"v1,{signature}"}


PROVIDERS: dict[str, Callable[[str, bytes, bytes, float], dict[str, str]]] = {
    "stripe": stripe,
    "github": github,
    "shopify": shopify,
    "standard": standard,
}


def bodies(event: str) -> dict[str, bytes]:
    """One event, written in different ways."""
    content = {"type": "a.b", "id": event, "customer": "Zoë", "total": 10.5}
    usual = {"written as Python writes it": json.dumps(content).encode()}
    if not FAULT:
        return usual
    compact = json.dumps(content, separators=(",", ":"))
    return {
        "compact": compact.encode(),
        "indented": json.dumps(content, indent=2).encode(),
        "in UTF-8": json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(),
        "with a key twice": compact.replace("{", '{"id":"first",', 1).encode(),
        "with 10.50": compact.replace("10.5", "10.50").encode(),
        "with a line's end": f"{compact}\n".encode(),
        **usual,
    }


async def send(shop: Shop, provider: str, event: str, body: bytes, key: bytes = b"", at: float = 0.0) -> httpx.Response:
    """Send it, signed with the provider's first secret and now, unless said otherwise."""
    signed = PROVIDERS[provider](event, body, key or keys(provider)[0], at or time.time())
    headers = {"Content-Type": "application/json", **signed}
    return await shop.http.post(f"{RECEIVER}/webhooks/{provider}", content=body, headers=headers)


async def authentic(shop: Shop) -> None:
    other = 0
    for provider in PROVIDERS:
        for look in bodies(""):
            event = secrets.token_hex(12)
            body = bodies(event)[look]
            other += json.dumps(json.loads(body)).encode() != body
            answer = await send(shop, provider, event, body)
            if not answer.is_success:
                raise Broken(
                    f"{provider.capitalize()} signed event {event} with the secret that we share, "
                    f"and was answered {answer.status_code} (the body is {look})"
                )
    if not other:
        raise Void("every body was what parsing and writing it again makes of it, so nothing is known of the others")


async def rotated(shop: Shop) -> None:
    for number, key in enumerate(keys("github")):
        event = secrets.token_hex(12)
        answer = await send(shop, "github", event, bodies(event)["compact"], key)
        if not answer.is_success:
            which = ("new", "old")[number]
            raise Broken(
                f"GitHub's secret is being replaced, and event {event}, signed with the {which} one, was refused"
            )


async def strangers(shop: Shop) -> None:
    nobody = base64.b64encode(secrets.token_bytes(32))
    for provider in PROVIDERS:
        event = secrets.token_hex(12)
        body = bodies(event)["compact"]
        answer = await send(shop, provider, event, body, nobody)
        if answer.is_success:
            raise Broken(
                f"A stranger who knows no secret sent event {event} as {provider.capitalize()}, and it was taken"
            )
        real = await send(shop, provider, event, body)
        if "duplicate" in real.text:
            raise Broken(f"A stranger's event {event} was refused and stored, and the real one was taken for a repeat")
        answer = await send(shop, provider, event, b'{"id": [[[', nobody)
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            raise Broken(
                f"A stranger who knows no secret was answered {answer.status_code} for a body that is no JSON: "
                "it was parsed before it was verified"
            )


async def recorded(shop: Shop) -> None:
    for provider in ("stripe", "standard"):
        event = secrets.token_hex(12)
        answer = await send(shop, provider, event, bodies(event)["compact"], at=time.time() - LONG_AGO)
        if answer.is_success:
            raise Broken(
                f"A request of {provider.capitalize()} that was recorded ten minutes ago, event {event}, was taken"
            )


async def check(shop: Shop) -> str:
    await authentic(shop)
    await rotated(shop)
    await strangers(shop)
    await recorded(shop)
    return "What a provider signed is believed byte by byte; strangers and recordings are refused unread."


kit.run(check)
