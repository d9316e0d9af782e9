"""A trace while it grows: server-sent events, from before its first span to its eviction."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from console.bootstrap import Settings, run

PROTOBUF = {"content-type": "application/x-protobuf"}
TRACE = "01" * 16
SECOND = 1_000_000_000
SERVER, CLIENT = 2, 3


@pytest.fixture
async def console() -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(console_port=0, console_otlp_port=0, console_max_traces=2)
    async with (
        run(settings) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as client,
    ):
        yield client


async def export(
    console: httpx.AsyncClient,
    service: str,
    span: int,
    kind: int,
    *,
    parent: int = 0,
    ends: bool = True,
    trace: int = 1,
) -> None:
    request = ExportTraceServiceRequest()
    of_service = request.resource_spans.add()
    name = of_service.resource.attributes.add()
    name.key, name.value.string_value = "service.name", service
    message = of_service.scope_spans.add().spans.add()
    message.trace_id, message.span_id = bytes([trace] * 16), bytes([span] * 8)
    message.kind = kind  # type: ignore[assignment]
    message.parent_span_id = bytes([parent] * 8) if parent else b""
    message.name, message.start_time_unix_nano = "GetOrder", SECOND + span
    message.end_time_unix_nano = 2 * SECOND if ends else 0
    response = await console.post("/v1/traces", content=request.SerializeToString(), headers=PROTOBUF)
    assert response.status_code == 200


@asynccontextmanager
async def watched(console: httpx.AsyncClient) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    async with console.stream("GET", f"/api/traces/{TRACE}/events", timeout=60) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _events(response)


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_a_trace_can_be_watched_before_it_begins(console: httpx.AsyncClient) -> None:
    """Waiting for a trace to come holds up no other request; its hops come as they begin, land and
    settle."""
    async with watched(console) as events:
        async with asyncio.timeout(20):
            for _ in range(3):
                assert (await console.get("/healthz")).status_code == 200
        await export(console, "gateway", 2, CLIENT, ends=False)
        name, hop = await anext(events)
        assert (name, hop["state"], hop["from"]) == ("hop", "flying", "gateway")
        await export(console, "gateway", 2, CLIENT)
        name, hop = await anext(events)
        assert (name, hop["state"]) == ("hop", "landed")
        assert await anext(events) == ("settled", {})


async def test_a_side_that_came_first_is_taken_back(console: httpx.AsyncClient) -> None:
    """The answering side alone is a hop from outside, until the asking side makes both one hop."""
    async with watched(console) as events:
        await export(console, "orders", 3, SERVER, parent=2)
        name, alone = await anext(events)
        assert (name, alone["from"]) == ("hop", "client")
        await export(console, "gateway", 2, CLIENT)
        assert await anext(events) == ("gone", {"id": alone["id"]})
        name, whole = await anext(events)
        assert (name, whole["from"], whole["to"]) == ("hop", "gateway", "orders")


async def test_who_watches_is_told_of_an_eviction(console: httpx.AsyncClient) -> None:
    """A trace that makes room for newer ones ends its stream with a word."""
    async with watched(console) as events:
        await export(console, "gateway", 2, CLIENT)
        assert (await anext(events))[0] == "hop"
        for trace in (2, 3):
            await export(console, "gateway", 2, CLIENT, trace=trace)
        found = [name async for name, _ in events]
    assert found[-1] == "evicted"


async def test_two_traces_are_compared(console: httpx.AsyncClient) -> None:
    """Hops are matched by protocol, from, to and operation; what only one has is named, and so is another outcome."""
    for trace in (1, 2):
        await export(console, "gateway", 2, CLIENT, trace=trace)
    await export(console, "orders", 4, CLIENT, trace=1)
    await export(console, "mailer", 5, CLIENT, trace=2)
    answer = await console.post("/api/compare", json={"left": TRACE, "right": "02" * 16})
    marks = {(row["mark"], (row["left"] or row["right"])["from"]) for row in answer.json()["rows"]}
    assert marks == {("same", "gateway"), ("missing", "orders"), ("extra", "mailer")}
    unknown = await console.post("/api/compare", json={"left": TRACE, "right": "no-such-order"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "NOT_FOUND")
    for wrong in (b"{", b"[]", b'{"left": 1, "right": 2}', b'{"left": "", "right": ""}'):
        assert (await console.post("/api/compare", content=wrong)).status_code == 422


async def test_a_trace_can_be_taken_elsewhere(console: httpx.AsyncClient) -> None:
    """OTLP's JSON has the same spans, with ids in hexadecimal and times as text."""
    await export(console, "gateway", 2, CLIENT)
    (of_service,) = (await console.get(f"/api/traces/{TRACE}/otlp")).json()["resourceSpans"]
    assert of_service["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "gateway"}}]
    (span,) = of_service["scopeSpans"][0]["spans"]
    assert (span["traceId"], span["spanId"], span["kind"]) == (TRACE, "02" * 8, CLIENT)
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == (str(SECOND + 2), str(2 * SECOND))


@pytest.mark.parametrize(
    "call",
    [
        {"target": "gateway", "method": "GET", "path": "//elsewhere.example/"},
        {"target": "elsewhere", "method": "GET", "path": "/"},
        {"target": "gateway", "method": "CONNECT", "path": "/"},
        {"target": "gateway", "method": "GET", "path": "/", "account": "root"},
        {"target": "gateway", "method": "GET"},
        {"target": "gateway", "method": "GET", "path": "/", "headers": {"x-name": "Zoë"}},
        {"target": "gateway", "method": "GET", "path": "/", "headers": {"x-name": "a\nb: c"}},
        {"target": "gateway", "method": "GET", "path": "/", "headers": {"x name": "a"}},
        {"target": "gateway", "method": "GET", "path": "/a\tb"},
        {"target": "gateway", "method": "GET", "path": "/" + "x" * 8_192},
        {"target": "notifier", "method": "GET", "path": "/notifications/stream?topics=a\tb", "protocol": "sse"},
        {"target": "notifier", "method": "GET", "path": "/" + "x" * 70_000, "protocol": "sse"},
    ],
)
async def test_only_the_shop_can_be_called(console: httpx.AsyncClient, call: dict[str, Any]) -> None:
    """The page's calls go to the shop's own processes, and to nothing else; what HTTP cannot say is refused."""
    assert (await console.post("/api/play", json=call)).status_code == 422
    assert (await console.post("/api/play", content=json.dumps(call))).status_code == 422


async def test_in_production_the_page_only_shows() -> None:
    """No call is signed in as demo where customers are real."""
    settings = Settings(console_port=0, console_otlp_port=0, env="production")
    async with (
        run(settings) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as client,
    ):
        answer = await client.post("/api/play", json={"target": "gateway", "method": "GET", "path": "/v1/products"})
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
        page = await client.get("/")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        again = await client.get("/", headers={"if-none-match": page.headers["etag"]})
        assert again.status_code == 304
