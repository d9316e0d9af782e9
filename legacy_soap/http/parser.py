"""The ERP's HTTP parser: waitress's, without what another server could read differently."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error, RequestHeaderFieldsTooLarge

MAX_HEAD_BYTES = 16 << 10
# Answered however many calls are under way.
PROBES = frozenset({"/healthz", "/readyz"})
_VERSION = re.compile(rb" HTTP/([0-9])\.([0-9])$")
# RFC 3986, section 3.2.2, with a port.
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
# Header fields of one value (RFC 9110, section 5.3).
_SINGULAR = (b"authorization", b"content-length", b"content-type", b"host", b"soapaction")


class StrictParser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Refuses what RFC 9112 forbids and waitress lets pass. Its errors are problems (RFC 9457)."""

    error: Error | None
    _status: HTTPStatus | None = None

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.began = time.monotonic()

    def received(self, data: bytes) -> int:
        """Take bytes of a request, and return how many of them belong to it."""
        line = (self.header_plus + data)[:MAX_HEAD_BYTES]
        consumed: int = super().received(data)
        if self.error is not None and not isinstance(self.error, Refusal):
            status = self._status or HTTPStatus(self.error.code)
            if isinstance(self.error, RequestHeaderFieldsTooLarge) and b"\r\n" not in line.lstrip():
                status = HTTPStatus.REQUEST_URI_TOO_LONG
            self.error = Refusal(status, self.error.body)
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Parse line and header. Raises `ParsingError` for what must not be served."""
        line, *fields = header_plus.split(b"\r\n")
        version = _VERSION.search(line)
        if version is not None and version[1] != b"1":
            self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "the version must be HTTP/1.0 or HTTP/1.1")
        if line.startswith(b"CONNECT "):
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "CONNECT is not supported: this server is not a proxy")
        if b" * " in line and not line.startswith(b"OPTIONS "):
            self._refuse(HTTPStatus.BAD_REQUEST, "the target * is only for OPTIONS (RFC 9112, section 3.2.4)")
        if any(field[:1] in (b" ", b"\t") for field in fields):
            self._refuse(HTTPStatus.BAD_REQUEST, "a header field must be one line (RFC 9112, section 5.2)")
        names = [field.partition(b":")[0].lower() for field in fields]
        for name in _SINGULAR:
            if names.count(name) > 1:
                self._refuse(HTTPStatus.BAD_REQUEST, f"the header {name.decode()} must be sent once")
        values = {name: field.partition(b":")[2].strip() for name, field in zip(names, fields, strict=True)}
        self._check_host_and_expectation(values, before_1_1=version is None or version[2] == b"0")
        if b"transfer-encoding" in names and (b"content-length" in names or version is None or version[2] == b"0"):
            self._refuse(HTTPStatus.BAD_REQUEST, "Transfer-Encoding must be sent without Content-Length, in HTTP/1.1")
        super().parse_header(header_plus)
        if not (self.chunked or self.content_length):
            # waitress would go on waiting for a body that never comes (RFC 9110, section 10.1.1: the wish is ignored).
            self.expect_continue = False
        # waitress finds "close" only where it stands alone.
        if "close" in (option.strip().lower() for option in self.headers.get("CONNECTION", "").split(",")):
            self.headers["CONNECTION"] = "close"

    def _check_host_and_expectation(self, values: Mapping[bytes, bytes], *, before_1_1: bool) -> None:
        if b"host" not in values and not before_1_1:
            self._refuse(HTTPStatus.BAD_REQUEST, "an HTTP/1.1 request must have one Host")
        if not _HOST.fullmatch(values.get(b"host", b"")):
            self._refuse(HTTPStatus.BAD_REQUEST, "Host must be a name or an address, with or without a port")
        if values.get(b"expect", b"").lower() not in (b"", b"100-continue") and not before_1_1:
            self._refuse(HTTPStatus.EXPECTATION_FAILED, "Expect must be 100-continue")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._status = status
        raise ParsingError(message)


class Refusal(Error):  # type: ignore[misc]
    """Error that waitress answers with instead of calling the application."""

    def __init__(self, status: HTTPStatus, message: str, *, retry_after: int = 0) -> None:
        """`retry_after`: the seconds after which to try again; 0 where that is of no use."""
        super().__init__(message)
        self._retry_after = retry_after
        self.code = status.value
        self.reason = status.phrase

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:  # noqa: ARG002  # waitress's
        """Status, headers, body."""
        status, headers, body = problem(f"{self.code} {self.reason}", self.body)
        return status, headers + [("Retry-After", str(self._retry_after))] * bool(self._retry_after), body


class StrictChannel(HTTPChannel):  # type: ignore[misc]
    """A connection that reads its requests so."""

    parser_class = StrictParser


def problem(status: str, detail: str) -> tuple[str, list[tuple[str, str]], bytes]:
    """An error as problem+json: the status line, headers and body. The trace is new: the ERP records none."""
    trace_id = secrets.token_hex(16)
    code, _, title = status.partition(" ")
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": int(code),
        "detail": detail,
        "code": title.upper().replace(" ", "_"),
        "trace_id": trace_id,
    }
    body = json.dumps(content).encode()
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-00"),
    ]
    return status, headers, body
