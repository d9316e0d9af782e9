"""Requests and responses of a WSGI application (PEP 3333), for a program that records nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from chassis.observability.capture import capture
from chassis.observability.capture.http import request_message, response_message
from chassis.observability.capture.places import handler_place
from chassis.observability.tracing import Span, SpanKind, Telemetry

Headers = list[tuple[bytes, bytes]]


class RecordedApplication:
    """WSGI: a server span for each call that has a name, with the request and its response."""

    def __init__(
        self, app: WSGIApplication, telemetry: Telemetry, *, protocol: str, named: Callable[[WSGIEnvironment], str]
    ) -> None:
        """`named`: the span's name for a request; empty for one that is not recorded."""
        self._app = app
        self._telemetry = telemetry
        self._protocol = protocol
        self._named = named
        self._place = handler_place(type(app).__call__)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        name = self._named(environ)
        if not name:
            return self._app(environ, start_response)
        with self._telemetry.span(
            name,
            SpanKind.SERVER,
            protocol=self._protocol,
            parent=environ.get("HTTP_TRACEPARENT"),
            attributes=self._place,
        ) as span:
            if not span.is_recording():
                return self._app(environ, start_response)
            return [self._recorded(span, environ, start_response)]

    def _recorded(self, span: Span, environ: WSGIEnvironment, start_response: StartResponse) -> bytes:
        body = environ["wsgi.input"].read()
        _keep_request(span, environ, body)
        answered: dict[str, Any] = {}

        def starting(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            answered.update(status=status, headers=headers)
            return start_response(status, headers, *error)

        # Whole: the span ends with this call, before the server would take the pieces.
        content = _joined(self._app({**environ, "wsgi.input": BytesIO(body)}, starting))
        if answered:
            _keep_response(span, answered["status"], answered["headers"], content)
        return content


def _joined(pieces: Iterable[bytes]) -> bytes:
    try:
        return b"".join(pieces)
    finally:
        if (close := getattr(pieces, "close", None)) is not None:
            close()


def _keep_request(span: Span, environ: WSGIEnvironment, body: bytes) -> None:
    target = environ.get("PATH_INFO") or "/"
    if query := environ.get("QUERY_STRING"):
        target += f"?{query}"
    headers = _request_headers(environ)
    version = environ["SERVER_PROTOCOL"].removeprefix("HTTP/")
    span.set_attribute("shop.bytes.received", len(body))
    capture.received(span, request_message(environ["REQUEST_METHOD"], target, version, headers, body))


def _keep_response(span: Span, status: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    code, _, reason = status.partition(" ")
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    span.set_attribute("http.response.status_code", int(code))
    span.set_attribute("shop.bytes.sent", len(body))
    capture.sent(span, response_message(int(code), reason, "1.1", raw, body))


def _request_headers(environ: Mapping[str, Any]) -> Headers:
    """A request's header fields, in lower case: WSGI has them in capitals, with underscores."""
    named = {name.removeprefix("HTTP_"): value for name, value in environ.items() if name.startswith("HTTP_")}
    named |= {name: environ[name] for name in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(name)}
    return [
        (name.lower().replace("_", "-").encode("latin-1"), value.encode("latin-1")) for name, value in named.items()
    ]
