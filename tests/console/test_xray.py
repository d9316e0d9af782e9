"""The hops of a running shop: what crossed, and what other tools lose."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chassis.broker import connect
from chassis.broker.port import Event, Topology
from chassis.settings import TOPOLOGY
from tests import kafka
from tests.docs.test_architecture import following
from tests.rabbitmq import own_rabbitmq
from tests.shop import Shop, shop_in_one_loop
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop_in_one_loop(tmp_path) as running:
        yield running


async def hops_of(shop: Shop, trace_id: str) -> list[dict[str, Any]]:
    """The hops of a trace that the console has by now."""
    async with httpx.AsyncClient(base_url=shop.address("SHOP_CONSOLE_URL"), timeout=60) as console:
        found: list[dict[str, Any]] = (await console.get(f"/api/traces/{trace_id}")).json().get("hops", [])
        return found


def trace_of(response: httpx.Response) -> str:
    return response.headers["traceparent"].split("-")[1]


async def shipped(shop: Shop, response: httpx.Response) -> list[dict[str, Any]]:
    """The hops of an order, once its second mail has been sent and each hop's parent is there."""

    async def complete() -> list[dict[str, Any]] | None:
        hops = await hops_of(shop, trace_of(response))
        mails = [hop for hop in hops if hop["protocol"] == "SMTP" and hop["state"] == "landed"]
        # Each process sends its spans when it likes, half a second apart, and a hop has no parent until that is there.
        first = [hop for hop in hops if hop["parent"] is None]
        parents, ids = {hop["parent"] for hop in hops}, {hop["id"] for hop in hops}
        return hops if len(mails) == 2 and len(first) == 1 and parents <= ids | {None} else None

    return await eventually(complete, within=60)


async def noted(shop: Shop, response: httpx.Response, note: str, *, to: str = "gateway") -> dict[str, Any]:
    """The hop of a request to this process, in the response's trace, once it has a note.

    Other hops may have the same note, and come before it: each process sends its spans by itself.
    """

    async def found() -> dict[str, Any] | None:
        ended = [hop for hop in await hops_of(shop, trace_of(response)) if hop["state"] != "flying"]
        return next((hop for hop in ended if (hop["to"], hop["note"]) == (to, note)), None)

    return await eventually(found)


def assert_whole(hops: list[dict[str, Any]]) -> None:
    """Every hop has a name, a parent that is there, real bytes that its parts cover, and code that exists."""
    ids = [hop["id"] for hop in hops]
    assert len(set(ids)) == len(ids)
    for hop in hops:
        assert hop["parent"] is None or hop["parent"] in ids, hop["operation"]
        for side in ("sent", "received"):
            message = hop["wire"][side]
            if message is not None:
                content = b64decode(message["base64"])
                assert b"".join(content[part["start"] : part["end"]] for part in message["parts"]) == content
                assert len(content) == min(message["size"], 4096)
        for place in filter(None, hop["code"].values()):
            assert (ROOT / place["file"]).exists()
            name = place["function"].rpartition(".")[2]
            lines = (ROOT / place["file"]).read_text().splitlines()
            assert any(f"def {name}" in line for line in lines), place


async def test_an_order_is_shown_hop_by_hop(shop: Shop) -> None:
    """Each hop of an order has its bytes, their meaning and its code; all hang together from the first request on."""
    hops = await shipped(shop, await shop.place(("42", 1)))
    assert_whole(hops)
    assert [hop["operation"] for hop in hops if hop["parent"] is None] == ["POST /v1/orders"]
    by_protocol = {hop["protocol"]: hop for hop in reversed(hops)}
    assert {hop["kind"] for hop in hops} == {"arrival", "call", "message"}
    assert by_protocol["REST"]["decoded"]["sent"] == {"items": [{"product_id": "42", "quantity": 1}]}
    assert by_protocol["gRPC"]["decoded"]["sent"]["items"] == [{"product_id": "42", "quantity": 1}]
    assert by_protocol["gRPC"]["decoded"]["received"]["order"]["currency"] == "EUR"
    assert by_protocol["queue"]["wire"]["source"] == "sqlite row"
    assert by_protocol["queue"]["decoded"]["received"]["queue"] == by_protocol["queue"]["queue"]
    assert by_protocol["SOAP"]["decoded"]["sent"]["Envelope"]["Body"]["Login"]["Password"] == "****"
    assert "payment_intent" in by_protocol["webhook"]["decoded"]["sent"]["type"]
    assert by_protocol["HTTP"]["code"]["target"]["file"] == "partners/payment_provider/http_api.py"
    assert by_protocol["SMTP"]["decoded"]["sent"]["X-Shop-Mail-Kind"] == "confirmed"
    assert by_protocol["SMTP"]["decoded"]["received"][-1].startswith("250 ")


@pytest.mark.rabbitmq
async def test_on_rabbitmq_the_amqp_hops_have_amqp_properties(tmp_path: Path) -> None:
    """Published and delivered messages are AMQP frames with the properties that RabbitMQ has."""
    async with (
        own_rabbitmq(Topology.load(TOPOLOGY)) as url,
        shop_in_one_loop(tmp_path, {"SHOP_BROKER_URL": url}) as shop,
    ):
        hops = await shipped(shop, await shop.place(("42", 1)))
    assert_whole(hops)
    hop = next(hop for hop in hops if hop["queue"] == "order-processing")
    assert (hop["protocol"], hop["wire"]["source"]) == ("AMQP", "capture")
    sent, received = hop["decoded"]["sent"], hop["decoded"]["received"]
    assert (sent["method"], received["method"]) == ("Basic.Publish", "Basic.Deliver")
    assert sent["routing_key"] == received["routing_key"] == "order.placed"
    assert received["properties"]["headers"]["cloudEvents:type"] == "order.placed"
    assert received["properties"]["delivery_mode"] == 2
    assert received["delivery_tag"] >= 1
    assert sent["body"] == received["body"]


@pytest.mark.kafka
async def test_with_a_log_on_kafka_its_hops_are_there(tmp_path: Path) -> None:
    """An order's events go to the topic and from it to the notifier in hops of their own, with a record's bytes."""
    async with (
        kafka.own_topic("tansu") as topic,
        shop_in_one_loop(tmp_path, {"SHOP_EVENT_LOG_URL": topic.url}) as shop,
        following(shop),
    ):
        response = await shop.place(("42", 1))
        await shipped(shop, response)
        await eventually(lambda: on_the_topic(shop, response), within=60)


async def on_the_topic(shop: Shop, response: httpx.Response) -> bool:
    """Whether the console has an order's way over the topic: the appends and what the notifier made of one of them."""
    hops = await hops_of(shop, trace_of(response))
    assert_whole(hops)
    appended = [hop for hop in hops if hop["protocol"] == "Kafka"]
    published = {hop["operation"] for hop in hops if hop["protocol"] == "queue"}
    assert {"order.placed", "order.paid", "order.shipped"} <= {hop["operation"] for hop in appended} <= published
    hop = next(hop for hop in appended if hop["operation"] == "order.paid")
    assert (hop["from"], hop["to"], hop["queue"]) == ("orders", "notifier", "event-log")
    assert (hop["kind"], hop["state"], hop["wire"]["source"]) == ("message", "landed", "capture")
    sent = hop["decoded"]["sent"]
    assert sent["key"] == sent["value"]["order_id"]
    assert sent["headers"]["ce_type"] == "order.paid"
    # What the reader goes on from is the append, in the order's trace.
    assert sent["headers"]["traceparent"] == sent["headers"]["ce_traceparent"]
    assert sent["headers"]["traceparent"].split("-")[2] == hop["id"].split("-")[0]
    heard = [each for each in hops if each["protocol"] == "SSE" and each["parent"] == hop["id"]]
    assert [each["operation"] for each in heard] == ["notify order.paid"]
    return True


async def test_a_repeated_request_is_a_replay(shop: Shop) -> None:
    """The same key again gives the same order, and the hop says that nothing was done."""
    first = await shop.place(("42", 1), key="k-1")
    again = await shop.place(("42", 1), key="k-1")
    assert first.json()["id"] == again.json()["id"]
    hop = await noted(shop, again, "idempotent_replay", to="orders")
    assert (hop["to"], hop["state"]) == ("orders", "landed")


async def test_both_sides_show_what_crossed_to_what_is_not_ours(shop: Shop) -> None:
    """The ERP and the mail server kept, too, what they received and what they answered, without its secrets."""
    hops = await shipped(shop, await shop.place(("42", 1)))
    for protocol, target, begins in (("SOAP", "legacy_soap", b"POST / HTTP/1.1\r\n"), ("SMTP", "smtp_sink", b"EHLO ")):
        hop = next(hop for hop in hops if hop["protocol"] == protocol)
        assert (hop["from"] in ("erp_adapter", "mailer"), hop["to"]) == (True, target)
        far = {side: b64decode(hop["wire"]["far_side"][side]["base64"]) for side in ("received", "sent")}
        assert far["received"].startswith(begins)
        near = {side: b64decode(hop["wire"][side]["base64"]) for side in ("received", "sent")}
        assert far["received"][-40:] == near["sent"][-40:]
        assert far["sent"][-10:] == near["received"][-10:]
        assert hop["code"]["target"]["file"].startswith(("legacy_soap/", "partners/smtp_sink/"))
    login = next(hop for hop in hops if hop["operation"] == "SOAP Login")
    assert b"<ns0:Password>****<" in b64decode(login["wire"]["far_side"]["received"]["base64"])


async def test_an_answer_from_the_edge_cache_is_a_hop(shop: Shop) -> None:
    """A read without a call to a service is one hop, with its bytes and where the answer came from."""
    await shop.http.get("/v1/products/42")
    again = await shop.http.get("/v1/products/42")
    assert again.headers["cache-status"].startswith("gateway;hit")
    hop = await noted(shop, again, "cache_hit")
    assert (hop["from"], hop["to"], hop["state"]) == ("client", "gateway", "landed")
    assert hop["decoded"]["received"]["id"] == "42"
    assert [each["id"] for each in await hops_of(shop, trace_of(again))] == [hop["id"]]


async def test_what_is_refused_is_a_hop(shop: Shop) -> None:
    """A request that validation, the gateway or a service refuses is there, failed, with what was sent."""
    unknown = await shop.place(("no-such-product", 1))
    assert unknown.status_code == 422
    hop = await noted(shop, unknown, "refused")
    assert (hop["from"], hop["to"], hop["state"]) == ("client", "gateway", "failed")
    assert hop["decoded"]["sent"]["items"][0]["product_id"] == "no-such-product"
    assert hop["decoded"]["received"]["status"] == 422
    anonymous = await shop.http.post("/v1/orders", json={"items": []})
    assert (await noted(shop, anonymous, "refused"))["decoded"]["received"]["status"] == 401


async def test_a_forged_webhook_is_a_hop(shop: Shop) -> None:
    """A webhook whose signature is not right is there with its signature, noted as refused."""
    url = f"{shop.address('SHOP_WEBHOOKS_URL')}/webhooks/stripe"
    forged = {"Stripe-Signature": f"t={int(datetime.now(UTC).timestamp())},v1={'0' * 64}"}
    answer = await shop.http.post(url, json={"id": "evt_1", "type": "x"}, headers=forged)
    assert answer.status_code == 401
    hop = await noted(shop, answer, "webhook_refused", to="webhooks")
    content = b64decode(hop["wire"]["sent"]["base64"])
    assert b"0" * 64 in content


async def test_a_dead_letter_its_replay_and_a_duplicate_are_hops(shop: Shop) -> None:
    """What can never be handled is a dead letter; put back, it is a replay that dies again; a repeat is dropped."""
    trace = uuid4().hex
    broker = await connect(f"embedded:{shop.around.data_dir / 'broker.sqlite'}", Topology.load(TOPOLOGY))

    def event(user_id: str) -> Event:
        data = json.dumps({"order_id": "o-1", "user_id": user_id, "total": "1.00", "currency": "EUR"}).encode()
        extensions = {"userid": user_id, "traceparent": f"00-{trace}-{uuid4().hex[:16]}-01"}
        return Event(uuid4().hex, "order.confirmed", "/orders", "o-1", datetime.now(UTC), data, extensions)

    async def notes() -> list[str]:
        hops = await hops_of(shop, trace)
        return [hop["note"] for hop in hops if hop["operation"] == "process order-mail" and hop["state"] != "flying"]

    try:
        poisoned = event("nobody")
        await broker.publish([poisoned])
        await eventually(lambda: _are(notes, ["dead_letter"]))
        await eventually(lambda: broker.replay_dead_letter("order-mail", poisoned.id))
        await eventually(lambda: _are(notes, ["dead_letter", "dead_letter_replay"]))
        twice = event("123")
        await broker.publish([twice])
        await eventually(lambda: _are(notes, ["dead_letter", "dead_letter_replay", ""]))
        await broker.publish([twice])
        await eventually(lambda: _are(notes, ["dead_letter", "dead_letter_replay", "", "duplicate_dropped"]))
    finally:
        await broker.close()


async def _are(notes: Any, expected: list[str]) -> bool:
    assert await notes() == expected
    return True


async def test_a_retry_is_a_hop_of_its_own(tmp_path: Path) -> None:
    """While the mail server is away, each attempt is a hop: the first has failed, the next ones are retries."""
    async with shop_in_one_loop(tmp_path, without=("smtp_sink",)) as shop:
        response = await shop.place(("42", 1))

        async def attempts() -> list[dict[str, Any]]:
            found = [hop for hop in await hops_of(shop, trace_of(response)) if hop["queue"] == "order-mail"]
            assert [(hop["attempt"], hop["state"], hop["note"]) for hop in found[:2]] == [
                (1, "failed", ""),
                (2, "failed", "retry"),
            ]
            return found

        await eventually(attempts, within=60)
