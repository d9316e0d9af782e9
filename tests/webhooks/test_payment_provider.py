"""The payment provider, as its own documentation would promise it; the shop is a fake that keeps the calls it gets."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis.http.server import serve_http
from partners.payment_provider.bootstrap import Settings, run
from partners.payment_provider.ledger import open_ledger
from partners.payment_provider.tables import upgrade
from tests.shop import free_ports
from tests.waiting import eventually
from tests.webhooks.conftest import SECRETS, Start
from tests.webhooks.processes import real_process
from webhooks import signatures

SECRET = SECRETS["stripe"]
PATH = "/v1/payment_intents"
NEVER = 3_600.0


@dataclass
class FakeWebhooks:
    """Keeps every authentic event; answers each request with the next of `answers`, or 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    requests: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    traceparents: list[str] = field(default_factory=list)

    async def receive(self, request: Request) -> Response:
        body = await request.body()
        signatures.stripe(body, dict(request.headers), [SECRET.encode()], time.time())
        self.requests += 1
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.events.append(json.loads(body))
            self.traceparents.append(request.headers["traceparent"])
        return Response(status_code=status)

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


@pytest.fixture
async def webhooks() -> AsyncIterator[FakeWebhooks]:
    fake = FakeWebhooks()
    app = Starlette(routes=[Route("/webhooks/stripe", fake.receive, methods=["POST"])])
    async with serve_http(app, host="127.0.0.1", port=0) as port:
        fake.url = f"http://127.0.0.1:{port}"
        yield fake


Provider = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def provider(tmp_path: Path, webhooks: FakeWebhooks) -> Provider:
    """Start a payment provider and a client to it; its books outlive it."""

    @asynccontextmanager
    async def started(*, delay: float = 0.01, **chosen: Any) -> AsyncIterator[httpx.AsyncClient]:
        fixed: dict[str, Any] = {"data_dir": tmp_path, "otlp_url": "", "payment_port": 0}
        settings = Settings(
            **{**fixed, "payment_delay": delay, "webhooks_url": webhooks.url, "webhook_secret_stripe": SECRET, **chosen}
        )
        async with (
            run(settings) as running,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as client,
        ):
            yield client

    return started


async def pay(client: httpx.AsyncClient, amount: int = 4_900, order_id: str = "77", key: str = "") -> httpx.Response:
    body = {"amount": amount, "currency": "eur", "metadata": {"order_id": order_id}}
    return await client.post(PATH, json=body, headers={"Idempotency-Key": key} if key else {})


async def status_of(client: httpx.AsyncClient, intent_id: str) -> str:
    return str((await client.get(f"{PATH}/{intent_id}")).json()["status"])


async def test_money_is_collected_and_told_of(provider: Provider, webhooks: FakeWebhooks) -> None:
    """A payment is processing at first; later one signed event says that it has succeeded, for which order."""
    async with provider() as client:
        intent = (await pay(client)).json()
        assert (intent["status"], intent["amount"], intent["currency"]) == ("processing", 4_900, "eur")
        (event,) = await eventually(lambda: webhooks.events)
        assert (event["type"], event["object"]) == ("payment_intent.succeeded", "event")
        assert event["id"].startswith("evt_")
        assert abs(event["created"] - time.time()) < 60
        payment = event["data"]["object"]
        assert (payment["id"], payment["status"]) == (intent["id"], "succeeded")
        assert payment["metadata"] == {"order_id": "77"}
        assert await status_of(client, intent["id"]) == "succeeded"


async def test_a_clock_that_is_set_back_delays_no_money(
    provider: Provider, webhooks: FakeWebhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be collected or sent by a clock an hour ahead does not wait for that hour once it is right."""
    right = time.time
    async with provider(delay=0.2) as client:
        webhooks.answers = [500] * 4
        with monkeypatch.context() as ahead:
            ahead.setattr(time, "time", lambda: right() + 3_600)
            told = await pay(client, order_id="1")
            await eventually(lambda: webhooks.requests >= 2)
            collected = await pay(client, order_id="2")
        # The longest wait between two attempts is ten seconds, and there are some.
        await eventually(lambda: len(webhooks.events) == 2, within=60)
        ids = {event["data"]["object"]["id"] for event in webhooks.events}
        assert ids == {told.json()["id"], collected.json()["id"]}


async def test_the_webhook_continues_the_trace_of_the_request(provider: Provider, webhooks: FakeWebhooks) -> None:
    """What the shop hears later belongs to the trace in which it asked."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with provider() as client:
        body = {"amount": 100, "currency": "eur", "metadata": {"order_id": "77"}}
        await client.post(PATH, json=body, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        (traceparent,) = await eventually(lambda: webhooks.traceparents)
        assert traceparent.split("-")[1] == trace


async def test_a_form_is_understood(provider: Provider) -> None:
    """Bodies may be forms with brackets, as Stripe's own clients send them."""
    async with provider(delay=NEVER) as client:
        form = {"amount": "4900", "currency": "EUR", "metadata[order_id]": "77"}
        intent = (await client.post(PATH, data=form)).json()
        assert (intent["amount"], intent["currency"], intent["metadata"]) == (4_900, "eur", {"order_id": "77"})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"currency": "eur"}, "amount"),
        ({"amount": 0, "currency": "eur"}, "amount"),
        ({"amount": "4.90", "currency": "eur"}, "amount"),
        ({"amount": 100, "currency": "euro"}, "currency"),
        ({"amount": 100, "currency": "eur", "metadata": {"order_id": 7}}, "metadata[order_id]"),
        ([], "body"),
        ({"amount": "00000000000199999999999", "currency": "eur"}, "amount"),
        ({"amount": 100, "currency": "\u0131nr"}, "currency"),
    ],
)
async def test_a_bad_parameter_is_named(provider: Provider, body: object, param: str) -> None:
    """What cannot be a payment is answered 400, naming the parameter."""
    async with provider() as client:
        response = await client.post(PATH, json=body)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_a_repeated_key_is_one_payment(provider: Provider, webhooks: FakeWebhooks) -> None:
    """Twenty requests with one idempotency key, and one after a restart, are answered alike and charged once."""
    async with provider(delay=NEVER) as client:
        responses = await asyncio.gather(*(pay(client, key="order-77") for _ in range(20)))
    async with provider(delay=NEVER) as client:
        responses.append(await pay(client, key="order-77"))
        assert {response.content for response in responses} == {responses[0].content}
        assert len((await client.get(PATH)).json()["data"]) == 1
        other = await pay(client, 5_000, key="order-77")
        assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")


async def test_the_shop_is_told_until_it_listens(provider: Provider, webhooks: FakeWebhooks) -> None:
    """Refusals and errors are retried with the same event until the answer is 2xx."""
    webhooks.answers = [503, 401, 500]
    async with provider() as client:
        await pay(client)
        await eventually(lambda: webhooks.events)
        assert (webhooks.requests, len(webhooks.events)) == (4, 1)


async def test_a_restart_forgets_nothing(provider: Provider, webhooks: FakeWebhooks) -> None:
    """What was to be collected or sent when the provider stopped is collected and sent by the next one."""
    webhooks.answers = [503] * 100
    async with provider() as client:
        untold = (await pay(client)).json()["id"]
        await eventually(lambda: webhooks.requests)
    async with provider(delay=0.5) as client:
        uncollected = (await pay(client)).json()["id"]
    webhooks.answers = []
    async with provider(delay=NEVER) as client:
        await eventually(lambda: len(webhooks.events) == 2)
        assert {event["data"]["object"]["id"] for event in webhooks.events} == {untold, uncollected}
        assert await status_of(client, uncollected) == "succeeded"


async def test_a_kill_forgets_nothing(tmp_path: Path, webhooks: FakeWebhooks) -> None:
    """Killed between the request and the collection, a restarted process sends a webhook for every payment."""
    [port] = free_ports(1)
    environment = {
        "SHOP_PAYMENT_PORT": str(port),
        "SHOP_PAYMENT_DELAY": "0.2",
        "SHOP_WEBHOOKS_URL": webhooks.url,
        "SHOP_WEBHOOK_SECRET_STRIPE": SECRET,
    }
    start = real_process
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        async with start("partners.payment_provider", tmp_path, environment) as process:
            responses = await asyncio.gather(*(pay(client, order_id=str(number)) for number in range(30)))
            process.kill()
            await process.wait()
        async with start("partners.payment_provider", tmp_path, environment):
            await eventually(lambda: len({event["id"] for event in webhooks.events}) == 30)
    told = {event["data"]["object"]["id"] for event in webhooks.events}
    assert told == {response.json()["id"] for response in responses}


async def test_cancelled_before_it_is_collected(
    provider: Provider, webhooks: FakeWebhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payment that is cancelled in time is never collected, and repeating the cancellation changes nothing."""
    right = time.time
    async with provider(delay=NEVER) as client:
        cancelled, kept = (await pay(client)).json()["id"], (await pay(client)).json()["id"]
        for _ in range(2):
            response = await client.post(f"{PATH}/{cancelled}/cancel")
            assert (response.status_code, response.json()["status"]) == (200, "canceled")
        monkeypatch.setattr(time, "time", lambda: right() + NEVER)
        await pay(client)  # collects what is due by now, and is not itself
        await eventually(lambda: webhooks.events)
        assert [event["data"]["object"]["id"] for event in webhooks.events] == [kept]
        assert await status_of(client, cancelled) == "canceled"


async def test_what_was_collected_cannot_be_cancelled(provider: Provider, webhooks: FakeWebhooks) -> None:
    """A payment that has been collected is refunded, not cancelled: the request says so."""
    async with provider() as client:
        intent = (await pay(client)).json()["id"]
        await eventually(lambda: webhooks.events)
        refused = await client.post(f"{PATH}/{intent}/cancel")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "payment_intent_unexpected_state")


async def refund(client: httpx.AsyncClient, intent_id: str, amount: int | None = None, key: str = "") -> httpx.Response:
    body = {"payment_intent": intent_id} | ({} if amount is None else {"amount": amount})
    return await client.post("/v1/refunds", json=body, headers={"Idempotency-Key": key} if key else {})


async def test_a_payment_is_given_back_in_parts(provider: Provider, webhooks: FakeWebhooks) -> None:
    """A part, then the rest, then no more; each part is sent and is on record, also after a restart."""
    async with provider() as client:
        intent = (await pay(client)).json()["id"]
        await eventually(lambda: webhooks.events)
        part = (await refund(client, intent, 1_000)).json()
        assert (part["object"], part["amount"], part["payment_intent"]) == ("refund", 1_000, intent)
        assert await status_of(client, intent) == "succeeded"
        assert (await refund(client, intent, 3_901)).json()["error"]["param"] == "amount"
        assert (await refund(client, intent)).json()["amount"] == 3_900
        spent = await refund(client, intent)
        assert (spent.status_code, spent.json()["error"]["code"]) == (400, "charge_already_refunded")
        await eventually(lambda: webhooks.types().count("charge.refunded") == 2)
        charges = [event["data"]["object"] for event in webhooks.events if event["type"] == "charge.refunded"]
        assert sorted((charge["amount_refunded"], charge["refunded"]) for charge in charges) == [
            (1_000, False),
            (4_900, True),
        ]
    async with provider() as client:
        listed = (await client.get("/v1/refunds", params={"order_id": "77"})).json()["data"]
        assert [each["amount"] for each in listed] == [1_000, 3_900]
        shown = (await client.get(f"{PATH}/{intent}")).json()
        assert (shown["status"], shown["amount_refunded"]) == ("refunded", 4_900)


async def test_a_repeated_refund_gives_back_once(provider: Provider, webhooks: FakeWebhooks) -> None:
    """Ten requests with one idempotency key are answered alike and give back once."""
    async with provider() as client:
        intent = (await pay(client)).json()["id"]
        await eventually(lambda: webhooks.events)
        answers = await asyncio.gather(*(refund(client, intent, 100, key="refund-1") for _ in range(10)))
        assert {answer.content for answer in answers} == {answers[0].content}
        assert (await client.get(f"{PATH}/{intent}")).json()["amount_refunded"] == 100


@pytest.mark.parametrize("content", [{"data": {"amount": ""}}, {"json": {"amount": None}}, {"json": {"amount": ""}}])
async def test_an_empty_amount_gives_nothing_back(
    provider: Provider, webhooks: FakeWebhooks, content: dict[str, dict[str, Any]]
) -> None:
    """Only a request without any amount asks for all that is left: an empty one is refused."""
    async with provider() as client:
        intent = (await pay(client)).json()["id"]
        await eventually(lambda: webhooks.events)
        ((encoding, parameters),) = content.items()
        asked: dict[str, Any] = {encoding: {"payment_intent": intent, **parameters}}
        refused = await client.post("/v1/refunds", **asked)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "amount")
        assert await status_of(client, intent) == "succeeded"


async def test_what_was_not_collected_is_not_given_back(provider: Provider) -> None:
    """A payment that is processing has nothing to give back, and one that is unknown even less."""
    async with provider(delay=NEVER) as client:
        intent = (await pay(client)).json()["id"]
        assert (await refund(client, intent)).json()["error"]["code"] == "payment_intent_unexpected_state"
        assert (await refund(client, "pi_unknown")).status_code == 404


async def test_a_request_that_comes_after_the_close_is_refused(provider: Provider, webhooks: FakeWebhooks) -> None:
    """Closing an order cancels what was not collected; a request that was held up by the network is refused after."""
    async with provider(delay=NEVER) as client:
        early = (await pay(client)).json()["id"]
        for order_id in ("77", "78"):
            for _ in range(2):
                assert (await client.post(f"/v1/orders/{order_id}/close")).status_code == 200
            late = await pay(client, order_id=order_id, key=f"late-{order_id}")
            assert (late.status_code, late.json()["error"]["code"]) == (409, "order_closed")
        payments = (await client.get(PATH)).json()["data"]
        assert [(each["id"], each["status"]) for each in payments] == [(early, "canceled")]


async def test_a_declined_card(provider: Provider) -> None:
    """An amount ending in 02 is refused at once with 402, again for the same key, and leaves no payment."""
    async with provider() as client:
        for _ in range(2):
            response = await pay(client, 4_902, key="order-77")
            assert (response.status_code, response.json()["error"]["code"]) == (402, "card_declined")
        assert (await client.get(PATH)).json()["data"] == []


async def test_a_payment_that_fails_later(provider: Provider, webhooks: FakeWebhooks) -> None:
    """An amount ending in 03 is accepted, and the event that follows says that it has failed, and why."""
    async with provider() as client:
        assert (await pay(client, 4_903)).status_code == 200
        (event,) = await eventually(lambda: webhooks.events)
        assert event["type"] == "payment_intent.payment_failed"
        assert event["data"]["object"]["last_payment_error"]["message"]


async def test_forced_by_hand(provider: Provider, webhooks: FakeWebhooks) -> None:
    """A workshop can pay or fail a payment before its time; what has been given back stays so."""
    async with provider(delay=NEVER) as client:
        first, second = (await pay(client)).json()["id"], (await pay(client)).json()["id"]
        assert (await client.post(f"{PATH}/{first}/pay")).json()["status"] == "succeeded"
        assert (await client.post(f"{PATH}/{second}/fail")).json()["status"] == "failed"
        await eventually(lambda: len(webhooks.events) == 2)
        assert sorted(webhooks.types()) == ["payment_intent.payment_failed", "payment_intent.succeeded"]
        await client.post("/v1/refunds", json={"payment_intent": first})
        refused = await client.post(f"{PATH}/{first}/pay")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "payment_intent_unexpected_state")
        assert (await client.post(f"{PATH}/pi_unknown/pay")).status_code == 404


async def test_the_books_can_be_read(provider: Provider) -> None:
    """All payments, or an order's, oldest first, a page at a time."""
    async with provider(delay=NEVER) as client:
        ids = [(await pay(client, order_id=order_id)).json()["id"] for order_id in ("1", "2", "1")]
        of_order = (await client.get(PATH, params={"order_id": "1"})).json()["data"]
        assert [intent["id"] for intent in of_order] == [ids[0], ids[2]]
        first = (await client.get(PATH, params={"limit": 2})).json()
        assert ([intent["id"] for intent in first["data"]], first["has_more"]) == (ids[:2], True)
        rest = (await client.get(PATH, params={"limit": 2, "starting_after": ids[1]})).json()
        assert ([intent["id"] for intent in rest["data"]], rest["has_more"]) == (ids[2:], False)


@pytest.mark.parametrize("limit", ["0", "1001", "0000019999", "99999999999", "-1", "x", "²"])
async def test_a_page_has_at_most_a_thousand_rows(provider: Provider, limit: str) -> None:
    """Any other limit is refused, however it is written."""
    async with provider() as client:
        refused = await client.get(PATH, params={"limit": limit})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "limit")
        assert (await client.get(PATH, params={"limit": "1000"})).status_code == 200


async def test_a_body_that_is_nested_too_deeply_is_refused(provider: Provider) -> None:
    """It is the client's mistake, and is answered as one."""
    deep = b'{"amount": 100, "currency": "eur", "x": %b}' % (b"[" * 1_020 + b"]" * 1_020)
    async with provider() as client:
        refused = await client.post(PATH, content=deep, headers={"content-type": "application/json"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "body")


async def test_books_that_could_not_be_opened_are_opened_by_the_next_request(tmp_path: Path) -> None:
    """Setting the file up is tried again after an error, and makes the tables then."""
    file = tmp_path / "ledger.sqlite"
    file.write_bytes(b"no database" * 100)
    async with open_ledger(file) as ledger:
        with pytest.raises(sqlite3.DatabaseError):
            await ledger.page(None, "", 1)
        file.unlink()
        assert await ledger.page(None, "", 1) == []


def test_an_old_file_is_upgraded_whole_or_not_at_all() -> None:
    """A payment that was given back is so after an upgrade that failed half-way and was made again."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute("CREATE TABLE intents (id TEXT PRIMARY KEY, amount INTEGER, status TEXT)")
    db.execute("INSERT INTO intents VALUES ('pi_1', 4900, 'refunded')")
    db.set_authorizer(
        lambda action, table, *_: (
            sqlite3.SQLITE_DENY if (action, table) == (sqlite3.SQLITE_UPDATE, "intents") else sqlite3.SQLITE_OK
        )
    )
    with pytest.raises(sqlite3.DatabaseError):
        upgrade(db)
    db.set_authorizer(None)
    upgrade(db)
    assert db.execute("SELECT refunded FROM intents").fetchone()["refunded"] == 4_900
    db.close()


@pytest.mark.parametrize("path", [PATH, "/v1/refunds", "/v1/events"])
@pytest.mark.parametrize("place", ["unknown", "re_1", "0", "\x00", "' OR 1=1 --"])
async def test_a_list_does_not_begin_anew_behind_an_unknown_row(provider: Provider, path: str, place: str) -> None:
    """A page behind a row that the list does not have is refused, or a client that pages through it would never end."""
    async with provider(delay=NEVER) as client:
        await pay(client)
        response = await client.get(path, params={"starting_after": place})
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "resource_missing", "starting_after")
        assert (await client.get(path, params={"starting_after": ""})).status_code == 200


async def test_events_can_be_read_with_those_that_were_not_taken(provider: Provider, webhooks: FakeWebhooks) -> None:
    """All events, oldest first, a page at a time; or those that the shop has not taken, with how often it refused."""
    webhooks.answers = [200, *[500] * 100]
    async with provider() as client:
        first = (await pay(client, order_id="1")).json()["id"]
        await eventually(lambda: webhooks.events)
        second = (await pay(client, order_id="2")).json()["id"]

        async def refused() -> list[dict[str, Any]]:
            untold = (await client.get("/v1/events", params={"delivery_success": "false"})).json()["data"]
            return [event for event in untold if event["attempts"]]

        (waiting,) = await eventually(refused)
        assert (waiting["type"], waiting["data"]["object"]["id"]) == ("payment_intent.succeeded", second)
        page = (await client.get("/v1/events", params={"limit": 1})).json()
        assert ([event["data"]["object"]["id"] for event in page["data"]], page["has_more"]) == ([first], True)
        after = {"starting_after": page["data"][0]["id"]}
        rest = (await client.get("/v1/events", params=after)).json()
        assert ([event["id"] for event in rest["data"]], rest["has_more"]) == ([waiting["id"]], False)


async def test_our_receiver_believes_the_provider(provider: Provider, start: Start) -> None:
    """From the request for a payment to the shop that learns of it, through both real processes' code."""
    async with start() as receiver:
        async with provider(webhooks_url=str(receiver.http.base_url), webhook_secret_stripe=SECRET) as client:
            intent = (await pay(client, order_id="77")).json()
            await eventually(lambda: receiver.shop.told)
        assert receiver.shop.told == [("paid", "77", intent["id"])]


async def test_it_does_not_start_without_a_secret(provider: Provider) -> None:
    """Without the secret that it shares with the shop, none of its webhooks would be accepted."""
    with pytest.raises(ValueError, match="SHOP_WEBHOOK_SECRET_STRIPE"):
        async with provider(webhook_secret_stripe=""):
            pass
