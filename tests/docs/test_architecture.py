"""The picture of the architecture is true: it shows what runs, and what runs talks as it shows."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import runpy
import tomllib
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import httpx2
import pytest
import pytest_asyncio
import websockets
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY, environment
from partners import senders
from shop.audit import Settings, audit_running_shop
from shop.commands.messages import reports
from shop.commands.partners import webhooks
from shop.process_table import TABLE
from tests.shop import Shop, shop_in_one_loop
from tests.waiting import eventually

with_the_shop = pytest.mark.asyncio(loop_scope="module")

DOCS = Path(__file__).parents[2] / "docs"
ARCHITECTURE = tomllib.loads((DOCS / "architecture.toml").read_text())
# Calls to `users` by every process's chassis.
IDENTITY = {"shop.users.v1.UserService/GetJwks", "shop.users.v1.UserService/IssueServiceToken"}
NAMES = {each["name"] for each in ARCHITECTURE["processes"]}
QUERY = "query { me { orders { items { product { name } } } } }"

# From, to, protocol.
Edge = tuple[str, str, str]


def arrows(*kinds: str) -> list[dict[str, Any]]:
    """The arrows of these kinds; "" are those that are drawn."""
    return [arrow for arrow in ARCHITECTURE["arrows"] if arrow.get("kind", "") in kinds]


def edges(*kinds: str) -> set[Edge]:
    """Those of them that make spans."""
    return {(each["from"], each["to"], each["protocol"]) for each in arrows(*kinds) if each.get("traced", True)}


def test_picture_is_up_to_date() -> None:
    """`python docs/draw.py` would draw the picture that is there."""
    drawing = runpy.run_path(str(DOCS / "draw.py"))
    layout = tomllib.loads((DOCS / "layout.toml").read_text())
    assert drawing["draw"](ARCHITECTURE, layout) == (DOCS / "architecture.svg").read_text()


def test_picture_shows_every_process_and_no_other() -> None:
    """What `shop up` starts is what the picture shows, beside the broker and the systems outside."""
    started = {spec.name for spec in TABLE}
    assert started | {"broker", "client", "partners", "operator"} == NAMES
    svg = ET.fromstring((DOCS / "architecture.svg").read_text())  # noqa: S314 - our own
    shown = {group.get("id") for group in svg.iter("{http://www.w3.org/2000/svg}g")} - {None}
    assert shown == started | {"broker", "client", "partners"}


def test_picture_shows_every_queue_where_it_is_consumed() -> None:
    """The broker's arrows to consumers are the topology's queues and its log."""
    topology = Topology.load(TOPOLOGY)
    consumed = [queue for arrow in arrows("") if arrow["from"] == "broker" for queue in arrow["what"]]
    assert set(consumed) == {*topology.queues, topology.log}


def test_every_step_of_the_journey_is_in_the_picture() -> None:
    """An order's six steps all have arrows."""
    assert {step for arrow in arrows("") for step in arrow.get("steps", ())} == {1, 2, 3, 4, 5, 6}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """A shop in which everything that can happen has happened."""
    env = {"SHOP_WEBHOOKS_ALLOW_PRIVATE": "true"}  # the partner's endpoint is here, too
    async with shop_in_one_loop(tmp_path_factory.mktemp("shop"), env) as shop:
        await live_through_everything(shop)
        yield shop


async def live_through_everything(shop: Shop) -> None:
    bearer = await shop.bearer()
    # The mail server stands in for the partner: whatever it answers, the webhook has come.
    endpoint = {"url": f"{shop.address('SHOP_MAIL_URL')}/webhooks"}
    assert (await shop.http.post("/v1/webhook-endpoints", json=endpoint, headers=bearer)).status_code == 201
    async with following(shop):
        await ends(shop, ("42", 1), "shipped")
    async with subscribed(shop):
        await ends(shop, ("42", 1), "shipped")
    async with talking(shop) as socket:
        order_id = await ends(shop, ("42", 1), "shipped")
        await socket.send(json.dumps({"action": "chat", "room": order_id, "text": "Thank you!"}))
        await ends(shop, ("7", 4), "rejected")
    assert (await shop.http.get("/v1/products/42/availability")).status_code == 200
    assert (await shop.http.post("/graphql", json={"query": QUERY}, headers=bearer)).json()["data"]
    stored = await shop.http.post("/v1/files", content=b"%PDF", headers={**bearer, "Content-Type": "application/pdf"})
    assert (await shop.http.get(stored.headers["location"], headers=bearer)).content == b"%PDF"
    await let_partners_call(shop)
    await let_an_agent_look(shop)
    await change_a_product(shop)
    headers = await shop.bearer("admin@shop.test", "admin")
    assert (await shop.http.get("/v1/reports/sales", headers=headers)).status_code == 200
    with environment(shop.around.shared):
        settings = Settings()
    await audit_running_shop(settings, wait=60)
    with environment(shop.around.shared):
        await asyncio.to_thread(webhooks.list_)
        await asyncio.to_thread(reports.sales)


async def ends(shop: Shop, item: tuple[str, int], status: str) -> str:
    """Place an order and wait for its end."""
    order_id = str((await shop.place(item, key=uuid.uuid4().hex)).json()["id"])

    async def ended() -> bool:
        return await shop.status(order_id) == status

    await eventually(ended, within=60)
    return order_id


async def let_an_agent_look(shop: Shop) -> None:
    """As an administrator's: listen to an order, and have it explained."""
    headers = await shop.bearer("admin@shop.test", "admin")
    url = f"{shop.address('SHOP_GATEWAY_URL')}/mcp"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as agent,
        agent.listen(resource_subscriptions=["order://123"]),
    ):
        order_id = await ends(shop, ("42", 1), "shipped")
        await agent.call_tool("explain_order", {"order_id": order_id})


@asynccontextmanager
async def following(shop: Shop) -> AsyncIterator[None]:
    """Meanwhile, follow the orders as server-sent events; the block must bring one."""
    url = f"{shop.address('SHOP_NOTIFIER_URL')}/notifications/stream?topics=order.*"
    async with aiohttp.ClientSession() as session, session.get(url, headers=await shop.bearer()) as stream:
        assert stream.status == 200
        yield
        async with asyncio.timeout(30):
            while not (await stream.content.readline()).startswith(b"data:"):
                pass


@asynccontextmanager
async def subscribed(shop: Shop) -> AsyncIterator[None]:
    """Meanwhile, have a GraphQL subscription; the block must bring it something."""
    url = shop.around.shared["SHOP_GATEWAY_URL"].replace("http", "ws") + "/graphql"
    query = {"query": "subscription { orderUpdates { status } }"}
    protocol = websockets.Subprotocol("graphql-transport-ws")
    async with websockets.connect(
        url, subprotocols=[protocol], additional_headers=await shop.bearer(), open_timeout=60
    ) as socket:
        await socket.send(json.dumps({"type": "connection_init"}))
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": query}))
        yield
        async with asyncio.timeout(30):
            while json.loads(await socket.recv())["type"] != "next":
                pass


@asynccontextmanager
async def talking(shop: Shop) -> AsyncIterator[websockets.ClientConnection]:
    """Meanwhile, be on the WebSocket, and in the end see the order's chat there."""
    url = shop.address("SHOP_NOTIFIER_URL").replace("http", "ws") + "/notifications"
    async with websockets.connect(url, additional_headers=await shop.bearer(), open_timeout=60) as socket:
        await socket.send(json.dumps({"action": "subscribe", "topics": ["order.*", "chat.*"]}))
        yield socket
        async with asyncio.timeout(30):
            while json.loads(await socket.recv())["type"] != "chat.posted":
                pass


async def let_partners_call(shop: Shop) -> None:
    for provider in ("github", "shopify"):
        secret = shop.around.secrets[f"SHOP_WEBHOOK_SECRET_{provider.upper()}"]
        webhook = senders.example(provider, secret=secret)
        url = f"{shop.address('SHOP_WEBHOOKS_URL')}/webhooks/{provider}"
        response = await shop.http.post(url, content=webhook.body, headers=dict(webhook.headers))
        assert response.status_code == 200, response.text


async def change_a_product(shop: Shop) -> None:
    admin = await shop.bearer("admin@shop.test", "admin")
    response = await shop.http.patch("/v1/products/20", json={"description": "Better than ever."}, headers=admin)
    assert response.status_code == 200, response.text


async def all_spans(shop: Shop) -> dict[str, list[dict[str, Any]]]:
    """Trace id -> its spans, of all that the console has."""
    url = f"{shop.address('SHOP_CONSOLE_URL')}/api/traces"
    traces = (await shop.http.get(url, params={"limit": 1000})).json()["items"]
    ids = [trace["trace_id"] for trace in traces]
    return {trace_id: (await shop.http.get(f"{url}/{trace_id}")).json()["spans"] for trace_id in ids}


def told_by(span: Mapping[str, Any], parents: Mapping[str, Any]) -> Iterable[Edge]:
    """The edges that one span shows, among the spans of its trace by id."""
    service, protocol = span["service"], span["protocol"]
    match span["kind"]:
        case "client":
            # A partner's endpoint has no name here.
            yield service, span["peer"] if span["peer"] in NAMES else "partners", protocol
        case "server" if span["parent_id"] not in parents:
            yield outsider(service, protocol), service, protocol
        case "consumer":
            yield "broker", service, "AMQP"
        case "producer" if protocol in ("queue", "AMQP"):
            yield service, "broker", "AMQP"
        case "producer":
            yield from (("broker", service, "AMQP"), (service, span["peer"], protocol))


def outsider(service: str, protocol: str) -> str:
    """The caller, where no span has it: the command line, unless the callee is one of the public doors."""
    if protocol == "webhook":
        return "partners"
    # A subscription's connection is one trace, and each event that goes through it another.
    return {"gateway": "client", "notifier": "client", "graphql_server": "gateway"}.get(service, "operator")


def observed(traces: Mapping[str, list[dict[str, Any]]], *, identity: bool) -> set[Edge]:
    found: set[Edge] = set()
    for spans in traces.values():
        parents = {span["span_id"]: span for span in spans}
        for span in spans:
            if (span["kind"] == "client" and span["name"] in IDENTITY) == identity:
                found |= set(told_by(span, parents))
    return found


@with_the_shop
async def test_who_talks_to_whom_is_what_the_picture_shows(shop: Shop) -> None:
    """Every call in the traces is an arrow, and every arrow is used."""

    async def agree() -> bool:
        assert observed(await all_spans(shop), identity=False) == edges("", "operations")
        return True

    await eventually(agree, within=60)


@with_the_shop
async def test_every_process_gets_keys_and_tokens_from_users(shop: Shop) -> None:
    """The arrows of the kind `identity` are the processes that verify a token or get one of their own."""

    async def agree() -> bool:
        assert observed(await all_spans(shop), identity=True) == edges("identity")
        return True

    await eventually(agree, within=60)


@with_the_shop
async def test_every_process_exports_to_the_console(shop: Shop) -> None:
    """The arrows of the kind `telemetry` are the processes of which the console has spans."""

    async def agree() -> bool:
        services = {span["service"] for spans in (await all_spans(shop)).values() for span in spans}
        assert {(service, "console", "OTLP") for service in services} == edges("telemetry")
        return True

    await eventually(agree, within=60)


@with_the_shop
async def test_queues_and_events_are_those_of_the_arrows(shop: Shop) -> None:
    """Who consumes which queue, and who publishes which events, is what the arrows say."""
    consumed = {(each["to"], queue) for each in arrows("") if each["from"] == "broker" for queue in each["what"]}
    published = {(each["from"], event) for each in arrows("") if each["to"] == "broker" for event in each["what"]}

    async def agree() -> bool:
        spans = [span for spans in (await all_spans(shop)).values() for span in spans]
        taken = {(span["service"], span["peer"]) for span in spans if span["kind"] == "consumer"}
        assert taken == {(service, queue) for service, queue in consumed if queue != "event-log"}
        told = [span for span in spans if span["kind"] == "producer" and span["protocol"] == "queue"]
        events = {(span["service"], span["name"].removeprefix("publish ")) for span in told}
        patterns = {
            (service, next((one for by, one in published if by == service and fnmatch.fnmatch(event, one)), event))
            for service, event in events
        }
        assert patterns == published
        return True

    await eventually(agree, within=60)


@with_the_shop
async def test_databases_are_those_of_the_processes(shop: Shop) -> None:
    """Each service keeps its state in a database of its own; only orders' two processes share one."""
    ours = {each["database"] for each in ARCHITECTURE["processes"] if "database" in each}
    outside = {each["name"] for each in ARCHITECTURE["processes"] if each["group"] == "outside"}
    files = {file.stem for file in shop.around.data_dir.glob("*.sqlite")}
    assert files - outside - {"broker"} == ours
