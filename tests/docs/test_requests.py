"""`docs/requests`: every request of the .http file is sent to a running shop; the Bruno collection is made of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
import websockets
from google.protobuf import descriptor_pool, json_format, message_factory
from lxml import etree

import protos.shop.orders.v1.orders_pb2  # noqa: F401  # so that its messages are known
from tests.shop import Shop, shop_in_one_loop
from tools.docs import requests_file
from tools.docs.requests_file import Request

ROOT = Path(__file__).parents[2]
VARIABLES, REQUESTS = requests_file.read(requests_file.FILE.read_text())
# What the file has for a shop on its default ports, and the setting with the port of a test's.
PORTS = {
    "localhost:8000": "SHOP_GATEWAY_PORT",
    "localhost:8001": "SHOP_NOTIFIER_PORT",
    "localhost:8002": "SHOP_WEBHOOKS_PORT",
    "localhost:8020": "SHOP_LEGACY_SOAP_PORT",
    "localhost:50053": "SHOP_ORDERS_PORT",
}
_WANTED = re.compile(r"\{\{(?:(\w+)\.response\.(body|headers)\.(.+?)|(\w+))\}\}")


class Session:
    """Sends the requests one after the other, each with what earlier answers hold."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.answers: dict[str, httpx.Response] = {}

    def filled(self, text: str) -> str:
        """A text with its variables' values, for the ports of this shop."""
        text = _WANTED.sub(self._value, text)
        for written, setting in PORTS.items():
            text = text.replace(written, f"127.0.0.1:{self.shop.address(setting)}")
        return text

    def _value(self, found: re.Match[str]) -> str:
        name, part, path, variable = found.groups()
        if variable:
            return self.filled(VARIABLES[variable])
        answer = self.answers[name]
        if part == "headers":
            return answer.headers[path]
        if path.startswith("/"):
            return str(etree.fromstring(answer.content).xpath(path)[0].text)
        value: Any = answer.json()
        for step in path.split("."):
            value = value[step]
        return str(value)

    async def send(self, request: Request) -> str:
        """The status, or what came back, of one request."""
        headers = {name: self.filled(value) for name, value in request.headers.items()}
        url, body = self.filled(request.url), self.filled(request.body)
        if request.method == "WEBSOCKET":
            async with websockets.connect(url, additional_headers=headers, open_timeout=60) as socket:
                await socket.send(body)
                return str(await socket.recv())
        if request.method == "GRPC":
            return await _call(url, headers, body)
        async with httpx.AsyncClient(timeout=60) as client:
            sending = client.build_request(request.method, url, headers=headers, content=body or None)
            answer = await client.send(sending, stream=True)
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                await answer.aread()
            await answer.aclose()
        if request.name:
            self.answers[request.name] = answer
        return str(answer.status_code)


async def _call(url: str, headers: dict[str, str], body: str) -> str:
    """Call a unary method; the messages are found by the method's descriptor, as a client with reflection does it."""
    target, _, path = url.partition("/")
    service, _, method = path.partition("/")
    found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
    request = json_format.Parse(body, message_factory.GetMessageClass(found.input_type)())
    answered = message_factory.GetMessageClass(found.output_type)
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.unary_unary(f"/{path}", type(request).SerializeToString, answered.FromString)
        return str(json_format.MessageToJson(await call(request, metadata=tuple(headers.items()), timeout=60)))


@pytest.mark.timeout(240)
async def test_every_request_gets_what_it_expects(tmp_path: Path) -> None:
    """All requests, in the file's order, against a running shop: each answer is the one that the file promises."""
    async with shop_in_one_loop(tmp_path, {"SHOP_REQUEST_BUDGET": "60"}) as shop:
        session = Session(shop)
        for request in REQUESTS:
            answer = await session.send(request)
            expected = [session.filled(each.strip()) for each in request.expect.split(",")]
            matches = answer in expected if request.is_http else any(each in answer for each in expected)
            assert matches, (request.title, answer, expected)


def test_every_protocol_is_in_it() -> None:
    """REST, GraphQL, WebSocket, SSE, gRPC, webhooks and SOAP each have a request, and each says what it expects."""
    beginnings = {request.title.partition(":")[0] for request in REQUESTS}
    assert {"REST", "GraphQL", "WebSocket", "SSE", "gRPC", "SOAP"} <= beginnings
    assert any(each.startswith("Webhook") for each in beginnings)
    assert all(request.expect for request in REQUESTS)


def test_the_collection_is_made_of_it() -> None:
    """The Bruno collection has the same HTTP requests."""
    assert requests_file.main([]) == 0


def test_the_container_has_what_the_shop_needs() -> None:
    """The development container installs by `make`, forwards the public ports, and opens the pages."""
    config = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert config["postCreateCommand"] == "make setup-dev"
    assert {8000, 8001, 8002, 8003, 8026, 8020, 8021} <= set(config["forwardPorts"])
    assert {str(port) for port in config["forwardPorts"]} == config["portsAttributes"].keys()
