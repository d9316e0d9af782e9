"""What a collector gets of our spans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

import pytest
from aiohttp import web
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.observability import otlp, span_export
from chassis.observability.otlp import encoded
from chassis.observability.telemetry import telemetry
from chassis.observability.tracing import SpanKind, Telemetry
from tests.shop import free_ports
from tests.waiting import eventually

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


@dataclass
class Collector:
    """A working fake: keeps the names of the spans that it has taken; `status` is its answer."""

    port: int = field(default_factory=lambda: free_ports(1)[0])
    status: int = 200
    asked: int = 0
    taken: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def take(self, request: web.Request) -> web.Response:
        self.asked += 1
        status = self.status
        message = ExportTraceServiceRequest.FromString(await request.read())
        if status == 200:
            (ours,) = message.resource_spans
            assert [each.value.string_value for each in ours.resource.attributes] == ["orders"]
            self.taken += [span.name for scope in ours.scope_spans for span in scope.spans]
        return web.Response(status=status)

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/traces", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        return runner


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's collector may take longer than 2 s, after which spans are sent again."""
    monkeypatch.setattr(span_export, "_TIMEOUT", 30.0)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    found = Collector()
    runner = await found.start()
    yield found
    await runner.cleanup()


def say(process: Telemetry, *names: str) -> None:
    for name in names:
        with process.span(name, SpanKind.SERVER, protocol="REST"):
            pass


def test_as_the_sdk_has_it() -> None:
    """A span is encoded as OpenTelemetry's own exporter does it: kinds, parents, attributes, events, failures."""
    exporter = InMemorySpanExporter()
    process = Telemetry("orders", exporter)
    for kind in SpanKind:
        with process.span(str(kind), kind, protocol="REST", peer="catalog", parent=PARENT, attributes={"n": 3}) as span:
            span.set_attribute("ratio", 0.5)
            span.set_attribute("held", True)
            span.add_event("capture.sent", {"capture.size": 7, "capture.form": "grpc"})
            say(process, "inside")
    with pytest.raises(ZeroDivisionError), process.span("failed", SpanKind.CLIENT, protocol="gRPC"):
        _ = 1 / 0
    ended = exporter.get_finished_spans()
    (theirs,) = encode_spans(ended).resource_spans[0].scope_spans
    assert len(ended) == 11
    assert [SpanMessage.FromString(encoded(span)) for span in ended] == list(theirs.spans)


async def test_told_at_the_end(collector: Collector) -> None:
    """What has ended when a process ends has reached the collector."""
    async with telemetry("orders", collector.url) as process:
        say(process, "first", "second")
    assert collector.taken == ["first", "second"]


async def test_told_meanwhile(collector: Collector) -> None:
    """For a person who watches, a span is there within a moment of its end."""
    async with telemetry("orders", collector.url) as process:
        for name in ("first", "second"):
            say(process, name)
            await eventually(partial(collector.taken.__contains__, name))


def test_a_busy_process_exports_less_often() -> None:
    """Who watches sees one order's spans within a tenth of a second; while they go on coming, within half a one."""
    assert [span_export.flush_interval(True, in_a_row) for in_a_row in (0, 9, 10)] == [0.1, 0.1, 1.0]
    assert span_export.flush_interval(False, 0) == 2.0


async def test_collector_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans wait for a collector that is not there yet, the newest of them, in their order."""
    monkeypatch.setattr(span_export, "_MAX_WAITING", 3)
    collector = Collector()
    async with telemetry("orders", collector.url) as process:
        say(process, *"abcde")
        runner = await collector.start()
        await eventually(lambda: collector.taken == ["c", "d", "e"])
    await runner.cleanup()


async def test_large_spans_wait_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of spans that hold much, fewer wait, the newest; and they are sent in exports that a collector takes."""
    monkeypatch.setattr(span_export, "_MAX_WAITING_BYTES", 50_000)
    monkeypatch.setattr(otlp, "EXPORT_BYTES", 25_000)
    collector = Collector()
    async with telemetry("orders", collector.url) as process:
        for name in "abcdefgh":
            with process.span(name, SpanKind.SERVER, protocol="REST") as span:
                span.add_event("capture.sent", {"capture.bytes": "x" * 10_000})
        runner = await collector.start()
        await eventually(lambda: collector.taken == ["e", "f", "g", "h"])
    assert collector.asked == 2
    await runner.cleanup()


@pytest.mark.parametrize(("status", "again"), [(503, True), (400, False)])
async def test_refused(collector: Collector, status: int, again: bool) -> None:
    """What a collector cannot take just now is sent again; what it will never take is not."""
    collector.status = status
    async with telemetry("orders", collector.url) as process:
        say(process, "first")
        await eventually(lambda: collector.asked >= 1)
        collector.status = 200
        say(process, "second")
        await eventually(lambda: "second" in collector.taken)
    assert collector.taken == (["first", "second"] if again else ["second"])
