"""Log lines beside the hops in whose work they were written, and `shop logs`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from chassis.observability.telemetry import telemetry
from chassis.observability.tracing import SpanKind, current_trace_id, current_traceparent
from console.bootstrap import Settings, run
from console.domain import Kind
from console.log_lines.causal import in_causal_order
from console.log_lines.otlp_logs import lines_of
from console.log_lines.store import Line, LineStore
from tests.console.spans import BEGAN_NS, MS, TRACE, span
from tests.waiting import eventually

log = logging.getLogger("tests.lines")


def line(number: int, span_id: str, at: float, *, trace_id: str = TRACE, service: str = "orders") -> Line:
    return Line(number, trace_id, span_id, service, BEGAN_NS + int(at * MS), "info", str(number), {})


def test_lines_stand_after_their_causes() -> None:
    """What a process whose clock is behind writes stands between its caller's lines, and so do its children's."""
    spans = {
        each.span_id: each
        for each in (
            span("server", Kind.SERVER, service="gateway", at=0, took=50),
            span("client", Kind.CLIENT, service="gateway", parent="server", at=10, took=30),
            span("behind", Kind.SERVER, service="orders", parent="client", at=-85, took=20),
            span("inside", service="orders", parent="behind", at=-80, took=5),
        )
    }
    lines = [line(1, "server", 5), line(4, "server", 45), line(2, "behind", -82), line(3, "inside", -78)]
    assert [each.number for each in in_causal_order(lines, spans)] == [1, 2, 3, 4]
    assert [each.number for each in in_causal_order([line(7, "unknown", 3), line(6, "", 1)], spans)] == [6, 7]


def test_a_clock_that_is_ahead_is_put_back() -> None:
    """What a call's far side writes stands before what its caller writes after the answer."""
    spans = {
        each.span_id: each
        for each in (
            span("client", Kind.CLIENT, service="gateway", at=0, took=30),
            span("ahead", Kind.SERVER, service="orders", parent="client", at=500, took=20),
        )
    }
    found = in_causal_order([line(2, "client", 40), line(1, "ahead", 510)], spans)
    assert [each.number for each in found] == [1, 2]


def test_lines_are_bounded() -> None:
    """A trace that writes without end keeps its first lines, and the oldest traces make room."""
    store = LineStore(max_lines=600)
    assert store.add(line(number, "a", number) for number in range(700)) == 200
    store.add(line(number, "a", number, trace_id="b" * 32) for number in range(200))
    assert (len(store.of(TRACE)), len(store.of("b" * 32))) == (0, 200)


def test_lines_are_bounded_in_bytes() -> None:
    """Lines with long attributes make room as many short ones do, and each is counted with what it takes."""
    store = LineStore(max_bytes=1 << 20)
    for number in range(40):
        many = replace(line(number, "a", number, trace_id=f"{number:032}"), attributes={"x": ["y" * 100_000]})
        store.add([many])
    kept = [number for number in range(40) if store.of(f"{number:032}")]
    assert kept == list(range(30, 40))


def test_a_lines_texts_are_cut() -> None:
    """No text of a line is longer than its message may be."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.trace_id = b"\x01" * 16
    record.severity_text = "X" * 20_000
    record.attributes.add(key="k" * 20_000).value.string_value = "v" * 20_000
    (found,) = lines_of(request)
    assert found.bytes < 40_000
    assert {len(name) for name in found.attributes} == {256}


@pytest.fixture
async def console() -> AsyncIterator[httpx.AsyncClient]:
    """A console on a free port."""
    settings = Settings(console_port=0, console_otlp_port=0)
    async with (
        run(settings) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as client,
    ):
        yield client


async def _traced(console: httpx.AsyncClient) -> str:
    """A call from gateway to orders, each of which writes a line; the trace's id."""
    url = str(console.base_url)
    async with telemetry("gateway", url, capture=True) as gateway, telemetry("orders", url, capture=True) as orders:
        log.warning("outside of any trace")
        with gateway.span("PlaceOrder", SpanKind.CLIENT, protocol="gRPC", peer="orders"):
            parent = current_traceparent()
            with orders.span("PlaceOrder", SpanKind.SERVER, protocol="gRPC", parent=parent):
                log.warning("order placed", extra={"order_id": "o-7", "password": "hunter2"})
            log.warning("orders answered with Bearer abcdefghijkl")
            return current_trace_id()


async def test_a_hop_has_its_lines(console: httpx.AsyncClient) -> None:
    """Each line comes with its process, its hop and its facts, in causal order, once, and without secrets."""
    trace_id = await _traced(console)

    async def arrived() -> list[Any]:
        items: list[Any] = (await console.get(f"/api/traces/{trace_id}/logs")).json()["items"]
        return items if len(items) >= 2 else []

    placed, answered = await eventually(arrived)
    (hop,) = (await console.get(f"/api/traces/{trace_id}/hops")).json()["hops"]
    assert (placed["service"], placed["level"], placed["message"]) == ("orders", "warning", "order placed")
    assert placed["attributes"] == {"order_id": "o-7", "password": "*" * 7}
    assert (answered["service"], answered["message"]) == ("gateway", "orders answered with Bearer ************")
    assert placed["hop"] == answered["hop"] == hop["id"]


async def test_what_is_no_export_is_refused(console: httpx.AsyncClient) -> None:
    """A body that is not protobuf, and one that is not gzip, are a 400 with a google.rpc.Status, as for traces."""
    protobuf = {"content-type": "application/x-protobuf"}
    for path in ("/v1/logs", "/v1/traces"):
        for headers in (protobuf, {**protobuf, "content-encoding": "gzip"}):
            refused = await console.post(path, content=b"\xff\xff\xff", headers=headers)
            assert (refused.status_code, refused.headers["content-type"]) == (400, "application/x-protobuf"), path
            status = Status.FromString(refused.content)
            assert (status.code, status.message.startswith("the body is not")) == (3, True)


async def test_one_trace_is_printed(console: httpx.AsyncClient) -> None:
    """`shop logs --trace` prints its lines, as text or JSON; an unknown order is refused with 2."""
    trace_id = await _traced(console)
    code, out = await _shop(console, "logs", "--trace", trace_id)
    assert code == 0
    first, second = (each.split()[1:] for each in out.splitlines())
    assert first == ["WARNING", "orders", "order", "placed", "order_id=o-7", "password=*******"]
    assert second[:3] == ["WARNING", "gateway", "orders"]
    code, out = await _shop(console, "logs", "--trace", trace_id, "--json")
    assert [json.loads(each)["service"] for each in out.splitlines()] == ["orders", "gateway"]
    for refused in (("no-such-order",), (), ("--order", "1", "--trace", "2"), ("1", "--order", "1")):
        code, out = await _shop(console, "logs", *refused)
        assert code == 2, out


async def test_new_lines_are_followed(console: httpx.AsyncClient) -> None:
    """`--follow` prints what comes later, too, until it is stopped."""
    trace_id = await _traced(console)
    process = await _started(console, "logs", "--trace", trace_id, "--follow")
    assert process.stdout is not None
    for _ in range(2):
        await asyncio.wait_for(process.stdout.readline(), 60)
    async with telemetry("mailer", str(console.base_url), capture=True) as mailer:
        with mailer.span("mail", SpanKind.CONSUMER, protocol="queue", parent=f"00-{trace_id}-{'1' * 16}-01"):
            log.warning("mail sent")
    assert b"mail sent" in await asyncio.wait_for(process.stdout.readline(), 60)
    process.terminate()
    await process.wait()


async def _started(console: httpx.AsyncClient, *arguments: str) -> asyncio.subprocess.Process:
    env = {**os.environ, "SHOP_CONSOLE_URL": str(console.base_url)}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shop",
        *arguments,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def _shop(console: httpx.AsyncClient, *arguments: str) -> tuple[int, str]:
    process = await _started(console, *arguments)
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode()
