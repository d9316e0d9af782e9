"""Every OTLP sender is shown: our own processes while they work, and other languages' SDKs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from chassis.observability.telemetry import telemetry
from chassis.observability.tracing import SpanKind, current_trace_id
from console.bootstrap import Settings, run
from tests.shop import free_ports
from tests.waiting import eventually

NODE = Path(__file__).parent / "node_sender"


@pytest.fixture
def otlp_port() -> int:
    return free_ports(1)[0]


@pytest.fixture
async def console(otlp_port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A console that also takes OTLP over gRPC."""
    settings = Settings(console_port=0, console_otlp_port=otlp_port)
    async with (
        run(settings) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as client,
    ):
        yield client


async def _hops(console: httpx.AsyncClient, trace_id: str) -> list[Any]:
    found: list[Any] = (await console.get(f"/api/traces/{trace_id}")).json().get("hops", [])
    return found


async def test_spans_come_over_grpc(console: httpx.AsyncClient, otlp_port: int) -> None:
    """OTLP over gRPC is kept like OTLP over HTTP, and says what it could not keep."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    message = spans.add(trace_id=b"\x01" * 16, span_id=b"\x02" * 8, name="ping", kind="SPAN_KIND_SERVER")
    message.start_time_unix_nano, message.end_time_unix_nano = 1_000_000, 3_500_000
    spans.add(name="without ids")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{otlp_port}") as channel:
        response = await TraceServiceStub(channel).Export(request, timeout=30)  # type: ignore[no-untyped-call]
    assert response.partial_success.rejected_spans == 1
    assert [hop["operation"] for hop in await _hops(console, "01" * 16)] == ["ping"]


async def test_a_call_is_seen_while_it_is_under_way(console: httpx.AsyncClient) -> None:
    """A hop is there, flying, before its span has ended, and has landed afterwards; it is one and the same hop."""
    async with telemetry("orders", str(console.base_url), capture=True) as orders:
        with orders.span("call", SpanKind.CLIENT, protocol="SOAP", peer="legacy_soap"):
            trace_id = current_trace_id()

            async def flying() -> list[Any]:
                return [hop for hop in await _hops(console, trace_id) if hop["state"] == "flying"]

            (before,) = await eventually(flying)

        async def landed() -> list[Any]:
            return [hop for hop in await _hops(console, trace_id) if hop["state"] == "landed"]

        (after,) = await eventually(landed)
    assert before["id"] == after["id"]
    assert before["duration_ms"] == 0
    assert after["code"]["origin"]["file"] == "tests/console/test_senders.py"


@pytest.mark.npm
async def test_the_sdk_of_another_language_is_drawn(console: httpx.AsyncClient, otlp_port: int, tmp_path: Path) -> None:
    """A trace that Node's OpenTelemetry SDK sends, by gRPC or by HTTP, is drawn with its protocol and both its ends."""
    (tmp_path / "package.json").write_bytes((NODE / "package.json").read_bytes())
    (tmp_path / "send.mjs").write_bytes((NODE / "send.mjs").read_bytes())
    await _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", folder=tmp_path)
    sent = json.loads(
        await _run("node", "send.mjs", f"http://127.0.0.1:{otlp_port}", str(console.base_url), folder=tmp_path)
    )
    for trace_id in sent:
        (hop,) = await eventually(partial(_hops, console, trace_id))
        assert (hop["from"], hop["to"], hop["protocol"]) == ("node-shop", "node-warehouse", "HTTP")
        assert (hop["operation"], hop["kind"], hop["state"]) == ("GET /stock", "call", "landed")
    assert len(set(sent)) == 2
    listed = (await console.get("/api/traces")).json()["items"]
    assert {trace["trace_id"] for trace in listed} == set(sent)


async def _run(*command: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(100):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-2_000:]
    return output.decode()
