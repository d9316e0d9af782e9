"""The console as a process: OTLP in by the real exporter and by hand, JSON out."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from chassis.observability.telemetry import telemetry
from chassis.observability.tracing import SpanKind, current_trace_id, current_traceparent
from console.bootstrap import Settings, run
from tests.waiting import eventually

PROTOBUF = {"content-type": "application/x-protobuf"}
MAX_BODY = 20_000


@pytest.fixture
async def console() -> AsyncIterator[httpx.AsyncClient]:
    """A console on a free port."""
    settings = Settings(console_port=0, console_otlp_port=0, console_max_body=MAX_BODY)
    async with (
        run(settings) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as client,
    ):
        yield client


def _request(*, trace_id: bytes = b"\x01" * 16, span_id: bytes = b"\x02" * 8, name: str = "ping") -> bytes:
    request = ExportTraceServiceRequest()
    message = request.resource_spans.add().scope_spans.add().spans.add()
    message.trace_id, message.span_id, message.name = trace_id, span_id, name
    message.start_time_unix_nano, message.end_time_unix_nano = 1_000_000, 3_500_000
    return request.SerializeToString()


async def test_what_processes_export_is_one_trace(console: httpx.AsyncClient) -> None:
    """Spans of two processes, sent by the real exporter, are one trace with its spans and hops."""
    url = str(console.base_url)
    async with telemetry("gateway", url) as gateway, telemetry("orders", url) as orders:
        with gateway.span("POST /v1/orders", SpanKind.SERVER, protocol="REST"):
            trace_id = current_trace_id()
            with gateway.span("PlaceOrder", SpanKind.CLIENT, protocol="gRPC", peer="orders"):
                parent = current_traceparent()
        about: dict[str, str | int] = {
            "cloudevents.event_type": "order.placed",
            "cloudevents.event_subject": "o-7",
            "shop.bytes.sent": 5,
        }
        with orders.span("PlaceOrder", SpanKind.SERVER, protocol="gRPC", parent=parent, attributes=about):
            pass

    (listed,) = (await console.get("/api/traces", params={"order_id": "o-7"})).json()["items"]
    assert (listed["trace_id"], listed["name"], listed["service"]) == (trace_id, "POST /v1/orders", "gateway")
    assert (listed["services"], listed["span_count"], listed["order_id"], listed["error"]) == (2, 3, "o-7", False)
    assert listed["started_at"].endswith("Z")

    spans = (await console.get(f"/api/traces/{trace_id}")).json()["spans"]
    assert [(span["service"], span["kind"]) for span in spans] == [
        ("gateway", "server"),
        ("gateway", "client"),
        ("orders", "server"),
    ]
    assert spans[2]["parent_id"] == spans[1]["span_id"]
    assert spans[2]["bytes_sent"] == 5
    assert spans[0]["offset_ms"] == 0

    hops = (await console.get(f"/api/traces/{trace_id}/hops")).json()["hops"]
    assert [(hop["from"], hop["to"], hop["protocol"]) for hop in hops] == [
        ("client", "gateway", "REST"),
        ("gateway", "orders", "gRPC"),
    ]


async def test_a_running_process_is_seen_soon(console: httpx.AsyncClient) -> None:
    """What a process has done is shown while the process goes on."""
    async with telemetry("orders", str(console.base_url)) as orders:
        with (
            pytest.raises(ValueError, match="broken"),
            orders.span("work", SpanKind.SERVER, protocol="gRPC"),
            orders.span("call", SpanKind.CLIENT, protocol="SOAP"),
        ):
            raise ValueError("broken")

        async def seen() -> list[Any]:
            items: list[Any] = (await console.get("/api/traces")).json()["items"]
            return items

        traces: list[Any] = await eventually(seen)
    assert [trace["error"] for trace in traces] == [True]


async def test_an_export_may_be_compressed(console: httpx.AsyncClient) -> None:
    """A gzip body is accepted and answered with an empty ExportTraceServiceResponse."""
    body = gzip.compress(_request())
    response = await console.post("/v1/traces", content=body, headers={**PROTOBUF, "content-encoding": "gzip"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-protobuf"
    assert not ExportTraceServiceResponse.FromString(response.content).HasField("partial_success")
    assert (await console.get(f"/api/traces/{'01' * 16}")).json()["duration_ms"] == 2.5


async def test_spans_without_ids_are_counted_as_rejected(console: httpx.AsyncClient) -> None:
    """A span whose ids are not ids is left out, and partial success says so."""
    response = await console.post("/v1/traces", content=_request(trace_id=b"\x00" * 16), headers=PROTOBUF)
    assert response.status_code == 200
    assert ExportTraceServiceResponse.FromString(response.content).partial_success.rejected_spans == 1
    assert (await console.get("/api/traces")).json() == {"items": []}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(b"\xff\xff\xff", PROTOBUF, 400, id="not protobuf"),
        pytest.param(b"plain", {**PROTOBUF, "content-encoding": "gzip"}, 400, id="not gzip"),
        pytest.param(gzip.compress(_request())[:-9], {**PROTOBUF, "content-encoding": "gzip"}, 400, id="cut off"),
        pytest.param(b"{}", {"content-type": "application/json"}, 415, id="json"),
        pytest.param(b"", {**PROTOBUF, "content-encoding": "br"}, 415, id="brotli"),
        pytest.param(_request(name="x" * MAX_BODY), PROTOBUF, 413, id="too large"),
        pytest.param(
            gzip.compress(_request(name="x" * MAX_BODY)), {**PROTOBUF, "content-encoding": "gzip"}, 413, id="bomb"
        ),
    ],
)
async def test_what_is_no_export_is_refused(
    console: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    """A bad export is answered with a 4xx and a google.rpc.Status, and nothing of it is kept."""
    response = await console.post("/v1/traces", content=body, headers=headers)
    assert response.status_code == status
    assert Status.FromString(response.content).message
    assert (await console.get("/api/traces")).json() == {"items": []}


@pytest.mark.parametrize("path", ["/api/traces/unknown", "/api/traces/unknown/hops", "/nothing/here"])
async def test_what_is_not_there_is_a_problem(console: httpx.AsyncClient, path: str) -> None:
    """An unknown trace or path is a 404 problem+json."""
    response = await console.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "NOT_FOUND"


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "²", "9" * 5_000, "0001" + "9" * 9])
async def test_a_limit_out_of_bounds_is_a_problem(console: httpx.AsyncClient, limit: str) -> None:
    """A limit that is no number from 1 to 1,000 is a 422 that names the parameter."""
    response = await console.get("/api/traces", params={"limit": limit})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "limit"


async def test_it_says_that_it_is_well(console: httpx.AsyncClient) -> None:
    """Liveness and readiness answer 200."""
    assert [(await console.get(path)).status_code for path in ("/healthz", "/readyz")] == [200, 200]
