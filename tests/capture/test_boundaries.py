"""What boundaries keep, and that they keep nothing where nothing is to be captured."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import AuthResult
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.errors import ShopError
from chassis.grpc.client import Client, connect
from chassis.http.middleware import HttpBoundary
from chassis.http.server import serve_http
from chassis.observability.capture.capture import Capture, open_span
from chassis.observability.capture.http import CapturedApplication, aiohttp_middlewares, httpx_hooks
from chassis.observability.telemetry import telemetry
from chassis.observability.tracing import SpanKind, Telemetry, current_traceparent
from chassis.resilience.deadlines import CircuitBreaker
from chassis.settings import ProcessSettings
from protos.shop.users.v1.users_pb2 import GetUsersRequest
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from services.mailer.domain import Customer, Mail
from services.mailer.smtp import SmtpTransport
from tests.mail_tls import mail_tls
from tests.shop import free_ports

SECRET = "planted-Smtp6"
MAIL = Mail("<1@shop.test>", "paid", "o-1", Customer("Ann", "ann@shop.test"), "Paid", ".It is paid.", datetime.now(UTC))


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def captures(span: ReadableSpan) -> dict[str, bytes]:
    """What was captured with a span, by the event's name."""
    return {event.name: b64decode(str((event.attributes or {})["capture.bytes"])) for event in span.events}


@asynccontextmanager
async def smtp_server(tls: ssl.SSLContext) -> AsyncIterator[int]:
    """A mail server that requires a sign-in over TLS, and accepts any."""

    class Receiver:
        async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
            return "250 OK"

    def authenticate(*_: Any) -> AuthResult:
        return AuthResult(success=True)

    (port,) = free_ports(1)
    controller = UnthreadedController(
        Receiver(),
        hostname="127.0.0.1",
        port=port,
        loop=asyncio.get_running_loop(),
        tls_context=tls,
        auth_required=True,
        authenticator=authenticate,
        auth_exclude_mechanism=["PLAIN"],
    )
    controller.server = await controller._create_server()  # its own way in begins with a loop that stands still
    try:
        yield port
    finally:
        controller.server.close()


async def test_an_smtp_dialogue_is_kept_without_its_credentials(exporter: InMemorySpanExporter) -> None:
    """Commands, mail and replies are kept; what was said to sign in, over several lines, is masked."""
    process = Telemetry("mailer", exporter, capture=Capture())
    tls, trust = mail_tls()
    async with smtp_server(tls) as port:
        transport = SmtpTransport(f"127.0.0.1:{port}", process, username="shop", password=SECRET, trust=trust)
        for _ in range(2):
            await transport.send(MAIL)
        await transport.close()
    first, second = exporter.get_finished_spans()
    assert captures(second)["capture.sent"].startswith(b"MAIL FROM:")  # over the same connection
    found = captures(first)
    said, heard = found["capture.sent"], found["capture.received"]
    assert b"AUTH LOGIN" in said
    assert b"\r\n..It is paid." in said
    assert said.endswith(b"\r\n.\r\n")
    assert heard.startswith(b"220 ")
    assert b"334 " in heard
    for secret in (SECRET.encode(), b"cGxhbnRlZC1TbXRwNg"):
        assert secret not in said


@pytest.mark.parametrize(
    ("said", "name", "status", "code"),
    [
        (b"GET /shown?secret=1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /shown", 400, "REPEATED_HEADER"),
        (b"no HTTP at all\r\n\r\n", "refused request", 400, "MALFORMED_REQUEST"),
    ],
)
async def test_a_request_that_no_application_sees_is_a_span(
    exporter: InMemorySpanExporter, said: bytes, name: str, status: int, code: str
) -> None:
    """What is refused by its framing alone has a span with its status and code, and the answer names its trace."""
    process = Telemetry("gateway", exporter, capture=Capture())
    async with serve_http(None, host="127.0.0.1", port=0, telemetry=process) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert (span.name, attributes["http.response.status_code"], attributes["error.type"]) == (name, status, code)
    assert b"traceparent: 00-%032x-%016x-01" % (span.context.trace_id, span.context.span_id) in answer
    kept = captures(span)
    assert code.encode() in kept["capture.sent"]
    assert b"secret=1" not in b"".join(kept.values())


async def test_what_a_breaker_keeps_back_is_noted(exporter: InMemorySpanExporter) -> None:
    """A call that was not made because its upstream is known to be away is a span that says so."""
    process = Telemetry("orders", exporter, capture=Capture())
    (port,) = free_ports(1)
    async with connect(f"127.0.0.1:{port}") as channel:
        client = Client("users", process, token=nobody, breaker=CircuitBreaker(threshold=2, recovery=60))
        stub = UserServiceStub(channel)
        for _ in range(3):
            with pytest.raises(ShopError):
                await client.call(stub.GetUsers, GetUsersRequest(ids=["1"]), timeout=2)
    notes = [(span.attributes or {}).get("shop.note") for span in exporter.get_finished_spans()]
    assert notes[0] is None
    assert notes[-1] == "breaker_open"
    (first, *_) = exporter.get_finished_spans()
    assert captures(first)["capture.sent"].endswith(GetUsersRequest(ids=["1"]).SerializeToString())
    place = first.attributes or {}
    assert place["code.file.path"] == "tests/capture/test_boundaries.py"
    assert str(place["code.function.name"]).endswith("test_what_a_breaker_keeps_back_is_noted")


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    """An application that is not asked."""


async def nobody() -> str:
    return ""


async def test_a_request_is_kept_with_its_answer_and_the_code_that_gave_it(exporter: InMemorySpanExporter) -> None:
    """ASGI: heads and the beginnings of bodies, their sizes in all; nothing of a body that cannot be read."""
    process = Telemetry("gateway", exporter, capture=Capture())
    big = b"x" * 100_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["endpoint"] = app
        while (await receive())["more_body"]:
            pass
        headers = [(b"content-type", b"text/plain"), (b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"zipped"})

    bodies = [{"type": "http.request", "body": big, "more_body": True}, {"type": "http.request", "more_body": False}]

    async def receive() -> Any:
        return bodies.pop(0)

    async def send(_: Any) -> None:
        return None

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/things",
        "raw_path": b"/things",
        "query_string": b"a=1",
        "http_version": "1.1",
        "headers": [(b"host", b"shop.test")],
    }
    await HttpBoundary(app, process, protocol_of=lambda _: "REST")(scope, receive, send)
    (span,) = exporter.get_finished_spans()
    found = captures(span)
    asked, answered = found["capture.received"], found["capture.sent"]
    assert asked.startswith(b"POST /things?a=1 HTTP/1.1\r\nhost: shop.test\r\n\r\nxxx")
    assert len(asked) == 4096
    assert next((event.attributes or {})["capture.size"] for event in span.events) == 100_000 + asked.index(b"xxx")
    assert b"traceparent: " in answered
    assert b"zipped" not in answered
    assert str((span.attributes or {})["code.function.name"]).endswith("<locals>.app")


async def test_nothing_is_installed_where_nothing_is_captured(exporter: InMemorySpanExporter) -> None:
    """Without capture there is no wrapper around applications, sessions and clients, no open span and no event."""
    process = Telemetry("gateway", exporter)

    assert HttpBoundary(_no_app, process, protocol_of=str)._app is _no_app
    assert aiohttp_middlewares(process) == ()
    assert httpx_hooks(process) == {}
    tls, trust = mail_tls()
    async with smtp_server(tls) as port:
        await SmtpTransport(f"127.0.0.1:{port}", process, username="shop", password=SECRET, trust=trust).send(MAIL)
    with process.span("publish", SpanKind.PRODUCER, protocol="queue"):
        assert open_span(current_traceparent()) is None
    for span in exporter.get_finished_spans():
        assert span.events == ()
        assert not any(name.startswith("code.") for name in span.attributes or {})


def test_capture_is_for_development(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on in development unless SHOP_CAPTURE says otherwise, off in production, and never on there."""
    assert ProcessSettings().captures()
    monkeypatch.setenv("SHOP_CAPTURE", "false")
    assert not ProcessSettings().captures()
    monkeypatch.setenv("SHOP_ENV", "production")
    assert not ProcessSettings().captures()
    monkeypatch.setenv("SHOP_CAPTURE", "true")
    with pytest.raises(ValueError, match="SHOP_CAPTURE and SHOP_ENV=production exclude each other"):
        ProcessSettings().captures()


async def test_a_process_is_told_what_its_settings_say() -> None:
    """`ProcessSettings.telemetry` has capture in development and none in production."""
    async with ProcessSettings(otlp_url="http://127.0.0.1:9").telemetry("a") as process:
        assert isinstance(process.capture, Capture)
        assert isinstance(HttpBoundary(_no_app, process, protocol_of=str)._app, CapturedApplication)
    async with ProcessSettings(otlp_url="http://127.0.0.1:9", env="production").telemetry("a") as process:
        assert process.capture is None
    async with telemetry("a", "", capture=True) as process:
        assert process.capture is None  # it would be sent nowhere
