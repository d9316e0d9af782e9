"""Secrets are planted in every protocol of a whole shop, and looked for in all that leaves its processes."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import httpx
import pytest
import websockets
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from chassis.broker.port import Topology
from chassis.observability.capture.messages import Form
from chassis.settings import TOPOLOGY
from tests.rabbitmq import own_rabbitmq
from tests.shop import Shop, shop_in_one_loop
from tests.waiting import eventually

PASSWORD = "planted-Pw7"
ERP_PASSWORD = "planted-Erp8"
COOKIE = "planted-Cookie9"
ENDPOINT = "planted-Endpoint5"
CARD = "4111 1111 1111 1111"

EVERYWHERE = {
    Form.HTTP_REQUEST,
    Form.HTTP_RESPONSE,
    Form.GRPC,
    Form.GRPC_STATUS,
    Form.WEBSOCKET,
    Form.EVENT_STREAM,
    Form.SMTP,
}


@dataclass
class Collector:
    """A working fake: keeps what processes export, as it came."""

    bodies: list[bytes] = field(default_factory=list)
    port: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return web.Response()

    def captured(self) -> list[tuple[str, str, bytes]]:
        """The process, the form and the bytes of each captured message."""
        found = []
        for body in self.bodies:
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                (service,) = (
                    pair.value.string_value for pair in of_resource.resource.attributes if pair.key == "service.name"
                )
                for span in of_resource.scope_spans[0].spans:
                    for event in span.events:
                        facts = {pair.key: pair.value.string_value for pair in event.attributes}
                        found.append((service, facts["capture.form"], b64decode(facts["capture.bytes"])))
        return found


@asynccontextmanager
async def listening(handler: web.Application) -> AsyncIterator[int]:
    runner = web.AppRunner(handler)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def planted(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Shop, Collector]]:
    """A shop whose processes export to us, on either broker, with an ERP password of its own."""
    collector = Collector()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/traces", collector.take)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(app))
        env = {
            "SHOP_OTLP_URL": f"http://127.0.0.1:{port}",
            "SHOP_LEGACY_SOAP_PASSWORD": ERP_PASSWORD,
            "SHOP_LOG_LEVEL": "debug",
            "SHOP_WEBHOOKS_ALLOW_PRIVATE": "true",
        }
        if request.param == "rabbitmq":
            env["SHOP_BROKER_URL"] = await stack.enter_async_context(own_rabbitmq(Topology.load(TOPOLOGY)))
        yield await stack.enter_async_context(shop_in_one_loop(tmp_path, env)), collector


async def test_no_secret_leaves_a_process(
    planted: tuple[Shop, Collector], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Passwords, tokens, cookies, signing secrets and card numbers are in no capture, span, log or export."""
    shop, collector = planted
    caplog.set_level(logging.DEBUG)
    # Of these, it is our own clients that are heard here.
    for client in ("httpcore", "httpx", "websockets"):
        caplog.set_level(logging.WARNING, logger=client)
    secrets = {PASSWORD, ERP_PASSWORD, COOKIE, ENDPOINT, CARD, CARD.replace(" ", "")}
    # The services' own secrets, and those that webhooks are signed with.
    secrets |= set(json.loads(shop.around.secrets["SHOP_SERVICE_SECRETS"]).values())
    secrets |= {value for name, value in shop.around.secrets.items() if "WEBHOOK_SECRET" in name}

    new = {"name": f"Ann {CARD}", "email": "ann@shop.test", "password": PASSWORD}
    assert (await shop.http.post("/v1/users", json=new)).status_code == 201
    token = await shop.token("ann@shop.test", PASSWORD)
    secrets.add(token)
    secrets.add(token.rpartition(".")[2])
    wrong = {"username": "demo@shop.test", "password": f"{PASSWORD}!"}
    assert (await shop.http.post("/v1/auth/token", data=wrong)).status_code == 401
    query = {"query": f'query {{ user(id: "{CARD}", password: "{PASSWORD}") {{ name }} }}'}
    await shop.http.post("/graphql", json=query, headers=_bearer(token))
    forged = {"Stripe-Signature": "t=1,v1=00", "Authorization": f"Basic {PASSWORD}"}
    webhooks = shop.address("SHOP_WEBHOOKS_URL")
    assert (await shop.http.post(f"{webhooks}/webhooks/stripe", json=new, headers=forged)).status_code in (400, 401)
    hooked = asyncio.Event()
    async with _hook(shop, hooked, token) as secret:
        secrets.add(secret)
        await _order(shop, token)
        await asyncio.wait_for(hooked.wait(), 20)

    def everywhere() -> bool:
        seen = {form for _, form, _ in collector.captured()}
        assert sorted(EVERYWHERE - seen) == []
        # The far sides of SOAP and SMTP, too.
        assert {service for service, _, _ in collector.captured()} >= {"legacy_soap", "smtp_sink"}
        return bool(seen & {Form.AMQP, Form.SQLITE_ROW})

    await eventually(everywhere, within=60)
    texts = [content for _, _, content in collector.captured()] + collector.bodies
    texts += [caplog.text.encode(), "".join(capfd.readouterr()).encode()]
    assert b"order.shipped" in b"".join(texts)
    for secret in secrets:
        assert [text[max(0, at - 80) : at + 40] for text in texts if (at := text.find(secret.encode())) >= 0] == []


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Cookie": f"a=b; session={COOKIE}"}


@asynccontextmanager
async def _hook(shop: Shop, hooked: asyncio.Event, token: str) -> AsyncIterator[str]:
    """Register an endpoint whose address holds a secret; yields the one that is signed with."""

    async def hook(_: web.Request) -> web.Response:
        hooked.set()
        return web.Response(headers={"Set-Cookie": f"session={COOKIE}"})

    app = web.Application()
    app.router.add_post("/hook", hook)
    async with listening(app) as port:
        body = {"url": f"http://127.0.0.1:{port}/hook?token={ENDPOINT}", "event_types": ["order.shipped"]}
        created = await shop.http.post("/v1/webhook-endpoints", json=body, headers=_bearer(token))
        assert created.status_code == 201, created.text
        yield str(created.json()["secret"])


async def _order(shop: Shop, token: str) -> None:
    """Place an order and hear of it by event stream; then by WebSocket, until it is shipped and talked about."""
    notifier = shop.address("SHOP_NOTIFIER_URL")

    async def reads_the_log() -> bool:
        return (await shop.http.get(f"{notifier}/readyz")).status_code == 200

    await eventually(reads_the_log)
    socket_url = notifier.replace("http", "ws") + f"/notifications?token={token}"
    async with asyncio.timeout(30):
        stream = f"{notifier}/notifications/stream?topics=%23"
        async with aiohttp.ClientSession() as session, session.get(stream, headers=_bearer(token)) as events:
            await _place(shop, token)
            async for line in events.content:
                if b"order.placed" in line:
                    break
        async with websockets.connect(socket_url, open_timeout=60) as socket:
            await socket.send(json.dumps({"action": "subscribe", "topics": ["#"]}))
            room = await _place(shop, token)
            text = {"action": "chat", "room": room, "text": f"my card is {CARD}, token={PASSWORD}"}
            await socket.send(json.dumps(text))
            seen: set[tuple[str, str]] = set()
            while not seen >= {("order.shipped", room), ("chat.posted", room)}:
                frame = json.loads(await socket.recv())
                seen.add((frame["type"], frame.get("subject", "")))


async def _place(shop: Shop, token: str) -> str:
    body = {"items": [{"product_id": "42", "quantity": 1}]}
    placed: httpx.Response = await shop.http.post("/v1/orders", json=body, headers=_bearer(token))
    return str(placed.json()["id"])
