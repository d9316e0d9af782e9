"""What a partner is answered, and that nothing but verifying and storing stands before the answer."""

from __future__ import annotations

import asyncio
import hmac
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import urlencode

import httpx
import pytest
from sqlalchemy import text

from chassis.database.sqlite_busy import retry_while_busy
from partners import senders
from tests.waiting import eventually
from tests.webhooks.conftest import SECRETS, Receiver, Start
from webhooks.incoming.http_api import SINGULAR_HEADERS

LIMIT = 1 << 20
PAYMENT = {"id": "pi_1", "metadata": {"order_id": "77"}}


def payment(event_id: str = "", *, at: float | None = None, secret: str = SECRETS["stripe"]) -> senders.SignedWebhook:
    return senders.stripe("payment_intent.succeeded", PAYMENT, secret=secret, event_id=event_id, at=at)


@pytest.mark.parametrize("provider", sorted(SECRETS))
async def test_an_authentic_webhook_is_stored_raw(receiver: Receiver, provider: str) -> None:
    """The row holds the very bytes and headers that were signed."""
    webhook = senders.example(provider, secret=SECRETS[provider])
    response = await receiver.send(webhook)
    assert response.status_code == 200
    (row,) = await receiver.rows()
    assert (row["provider"], bytes(row["body"])) == (provider, webhook.body)
    headers = json.loads(row["headers"])
    assert all(headers[name.lower()] == value for name, value in webhook.headers.items())


async def test_a_duplicate_is_answered_200_and_stored_once(receiver: Receiver) -> None:
    """A provider that did not hear our answer may ask again, with a new signature."""
    first = await receiver.send(payment("evt_1"))
    again = await receiver.send(payment("evt_1", at=time.time() - 60))
    assert (first.json()["status"], again.json()["status"]) == ("stored", "duplicate")
    assert again.status_code == 200
    assert len(await receiver.rows()) == 1


async def test_a_hundred_concurrent_duplicates_have_one_effect(receiver: Receiver) -> None:
    """However often an event arrives at once, it is stored and applied once and always answered 200."""
    webhook = payment("evt_flood")

    async def delivered() -> httpx.Response:
        """As a provider does it: again after a 503, which a busy machine may answer to the last of a hundred."""

        async def taken() -> httpx.Response | None:
            response = await receiver.send(webhook)
            return None if response.status_code == 503 else response

        return await eventually(taken, within=60)

    responses = await asyncio.gather(*(delivered() for _ in range(100)))
    assert {response.status_code for response in responses} == {200}
    assert [response.json()["status"] for response in responses].count("stored") == 1
    await eventually(lambda: receiver.shop.told)
    last = await receiver.send(senders.example("github", secret=SECRETS["github"]))
    assert last.status_code == 200
    await eventually(lambda: len(receiver.shop.told) == 2)
    assert receiver.shop.told[0] == ("paid", "77", "pi_1")


async def test_the_same_id_of_another_provider_is_another_event(receiver: Receiver) -> None:
    """Event ids are unique per provider only."""
    github = senders.github("push", {}, secret=SECRETS["github"], delivery_id="same")
    shopify = senders.shopify("app/uninstalled", {}, secret=SECRETS["shopify"], webhook_id="same")
    assert (await receiver.send(github)).json()["status"] == "stored"
    assert (await receiver.send(shopify)).json()["status"] == "stored"


async def test_a_forged_webhook_is_refused_and_not_stored(receiver: Receiver) -> None:
    """Another secret's signature is answered 401 with a challenge, and leaves nothing behind."""
    response = await receiver.send(payment(secret="another"))
    assert (response.status_code, response.json()["code"]) == (401, "BAD_SIGNATURE")
    assert "www-authenticate" in response.headers
    assert await receiver.rows() == []


@pytest.mark.parametrize("offset", [-400, 400])
async def test_an_old_or_early_webhook_is_refused(receiver: Receiver, offset: float) -> None:
    """Outside of five minutes on either side of now the answer is 401."""
    response = await receiver.send(payment(at=time.time() + offset))
    assert (response.status_code, response.json()["code"]) == (401, "STALE_SIGNATURE")


async def test_an_unsigned_webhook_is_refused(receiver: Receiver) -> None:
    """Without a signature the answer is 401."""
    response = await receiver.http.post("/webhooks/stripe", content=b"{}")
    assert response.status_code == 401


async def test_a_malformed_signature_header_is_a_bad_request(receiver: Receiver) -> None:
    """A header without the scheme's form is answered 400."""
    response = await receiver.http.post("/webhooks/stripe", content=b"{}", headers={"Stripe-Signature": "rubbish"})
    assert (response.status_code, response.json()["code"]) == (400, "MALFORMED_SIGNATURE")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="broken off"),
        pytest.param(b"[]", id="a list"),
        pytest.param('{"id": "evt_1", "type": "payment.succeeded"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b'{"data":{}}', id="no type"),
        pytest.param(b'{"type":1}', id="a number for a type"),
        pytest.param(b'{"type":"\\u0000"}', id="NUL, which PostgreSQL cannot store"),
        pytest.param(b'{"type":"\\ud800"}', id="half a surrogate, which nothing can encode"),
        pytest.param(b"[" * 100_000, id="very deep"),
    ],
)
async def test_a_malformed_body_is_a_bad_request(receiver: Receiver, body: bytes) -> None:
    """An authentic body that is no event of the provider's is answered 400 problem+json."""
    signed = _signed_standard(body)
    response = await receiver.send(signed)
    assert (response.status_code, response.json()["code"]) == (400, "MALFORMED_WEBHOOK")
    assert response.headers["content-type"] == "application/problem+json"


async def test_githubs_form_body_names_the_setting_to_change(receiver: Receiver) -> None:
    """A webhook in GitHub's default encoding, authentic as it is, is refused with what to change, and is not stored."""
    body = urlencode({"payload": json.dumps({"zen": "Design for failure."})}).encode()
    digest = hmac.digest(SECRETS["github"].encode(), body, "sha256").hex()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-GitHub-Delivery": "d1",
        "X-GitHub-Event": "ping",
        "X-Hub-Signature-256": f"sha256={digest}",
    }
    response = await receiver.http.post("/webhooks/github", content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "MALFORMED_WEBHOOK")
    assert "set the webhook's content type to application/json" in response.json()["detail"]
    assert await receiver.rows() == []


async def test_a_missing_delivery_id_is_a_bad_request(receiver: Receiver) -> None:
    """Without the provider's id of the event a repeat could not be recognized."""
    webhook = senders.example("github", secret=SECRETS["github"])
    headers = {name: value for name, value in webhook.headers.items() if name != "X-GitHub-Delivery"}
    response = await receiver.http.post("/webhooks/github", content=webhook.body, headers=headers)
    assert response.status_code == 400


async def test_an_unknown_provider_is_not_found(receiver: Receiver) -> None:
    """Nothing listens for a provider that we have no dealings with."""
    response = await receiver.http.post("/webhooks/acme", content=b"{}")
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")
    assert (await receiver.http.get("/webhooks/stripe")).status_code == 405


async def test_one_mebibyte_is_accepted(receiver: Receiver) -> None:
    """The limit itself is within the limit."""
    frame = len(senders.github("push", {"pad": ""}, secret="").body)
    webhook = senders.github("push", {"pad": "x" * (LIMIT - frame)}, secret=SECRETS["github"])
    assert len(webhook.body) == LIMIT
    assert (await receiver.send(webhook)).status_code == 200


async def test_more_than_one_mebibyte_is_refused(receiver: Receiver) -> None:
    """One byte more is answered 413, announced or in chunks."""
    body = b"x" * (LIMIT + 1)
    announced = await receiver.http.post("/webhooks/github", content=body)

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 64 << 10):
            yield body[at : at + (64 << 10)]

    chunked = await receiver.http.post("/webhooks/github", content=chunks())
    assert [(response.status_code, response.json()["code"]) for response in (announced, chunked)] == [
        (413, "BODY_TOO_LARGE")
    ] * 2


async def test_both_secrets_are_accepted_during_rotation(start: Start) -> None:
    """Several secrets in the setting, comma-separated, are each as good as the other."""
    async with start(webhook_secret_stripe="old-secret, new-secret") as receiver:
        for secret, expected in (("old-secret", 200), ("new-secret", 200), ("older-secret", 401)):
            assert (await receiver.send(payment(secret=secret))).status_code == expected


async def test_a_failing_store_is_answered_503_with_retry_after(receiver: Receiver) -> None:
    """What could not be stored is not acknowledged, and is accepted once the store is back."""
    async with receiver.database() as db:
        async with db.transaction() as connection:
            await connection.execute(text("ALTER TABLE webhooks RENAME TO gone"))
        response = await receiver.send(payment("evt_1"))
        assert (response.status_code, response.json()["code"]) == (503, "STORE_UNAVAILABLE")
        assert int(response.headers["retry-after"]) > 0
        async with db.transaction() as connection:
            await connection.execute(text("ALTER TABLE gone RENAME TO webhooks"))
    assert (await receiver.send(payment("evt_1"))).json()["status"] == "stored"


async def test_the_answer_does_not_wait_for_the_broker(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the broker takes nothing, webhooks are accepted as ever, and processed when it is back."""
    # Longer than the answer may take.
    monkeypatch.setattr("chassis.broker.embedded.writer.BUSY_TIMEOUT", 60.0)
    monkeypatch.setattr("chassis.broker.embedded.writer.retry_while_busy", partial(retry_while_busy, timeout=60.0))
    async with start() as receiver:
        with sqlite3.connect(receiver.settings.data_dir / "broker.sqlite", isolation_level=None) as broker:
            broker.execute("BEGIN EXCLUSIVE")
            started = time.monotonic()
            assert (await receiver.send(payment())).status_code == 200
            assert time.monotonic() - started < 20
            broker.execute("ROLLBACK")
        broker.close()
        await eventually(lambda: receiver.shop.told)


async def test_the_answer_does_not_wait_for_processing(receiver: Receiver) -> None:
    """While processing stands still, webhooks are accepted as ever."""
    receiver.shop.open.clear()
    responses = await asyncio.gather(*(receiver.send(payment()) for _ in range(50)))
    assert {response.status_code for response in responses} == {200}
    receiver.shop.open.set()
    await eventually(lambda: len(receiver.shop.told) == 50)


async def test_it_says_that_it_is_ready(receiver: Receiver) -> None:
    """Liveness and readiness are answered 200 while webhooks can be stored."""
    for path in ("/healthz", "/readyz"):
        assert (await receiver.http.get(path)).status_code == 200


@pytest.mark.parametrize("secret", ["", " , ", "whsec_no base64"])
async def test_it_does_not_start_without_a_secret(start: Start, secret: str) -> None:
    """A missing or impossible secret is an error that names its setting: an empty secret signs nothing."""
    with pytest.raises(ValueError, match="SHOP_WEBHOOK_SECRET_STANDARD"):
        async with start(webhook_secret_standard=secret):
            pass


def _signed_standard(body: bytes) -> senders.SignedWebhook:
    """Any bytes, signed as if they were an event."""
    import base64
    import hashlib
    import hmac

    now = int(time.time())
    key = base64.b64decode(SECRETS["standard"].removeprefix("whsec_"))
    digest = base64.b64encode(hmac.new(key, f"msg_1.{now}.".encode() + body, hashlib.sha256).digest()).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now), "webhook-signature": f"v1,{digest}"}
    return senders.SignedWebhook("standard", headers, body)


async def test_the_lines_of_a_stripe_signature_are_one_list(receiver: Receiver) -> None:
    """RFC 9110, section 5.3: time and signature may come in two lines; two times are ambiguous and refused."""
    webhook = payment("evt_lines")
    signature = webhook.headers["Stripe-Signature"]
    others = [(name, value) for name, value in webhook.headers.items() if name != "Stripe-Signature"]
    in_lines = [("Stripe-Signature", part) for part in signature.split(",")]
    sent = await receiver.http.post("/webhooks/stripe", content=webhook.body, headers=[*others, *in_lines])
    assert sent.status_code == 200
    doubled = [("Stripe-Signature", f"t=1,v1={'0' * 64}"), ("Stripe-Signature", signature)]
    refused = await receiver.http.post("/webhooks/stripe", content=webhook.body, headers=[*others, *doubled])
    assert (refused.status_code, refused.json()["code"]) == (400, "MALFORMED_SIGNATURE")


@pytest.mark.parametrize("provider", ["github", "shopify", "standard"])
async def test_a_signature_that_is_no_list_comes_once(receiver: Receiver, provider: str) -> None:
    """Of two, the sender and we could each mean another: 400, and nothing is stored."""
    webhook = senders.example(provider, secret=SECRETS[provider])
    for name, value in webhook.headers.items():
        if name.lower().encode() not in SINGULAR_HEADERS:
            continue
        lines = [*webhook.headers.items(), (name, value)]
        response = await receiver.http.post(f"/webhooks/{provider}", content=webhook.body, headers=lines)
        assert (response.status_code, response.json()["code"]) == (400, "REPEATED_HEADER"), name
    assert await receiver.rows() == []
