"""The ERP answers health checks however busy it is, and no client keeps it waiting for a head."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from legacy_soap.bootstrap import Running, Settings, running
from legacy_soap.http import server as http_server
from tests.legacy.conftest import http_call
from tests.waiting import eventually

MAX_CONNECTIONS = 6
HALF = b"GET / HTTP/1.1\r\nHost: erp\r\n"
CALL = HALF.replace(b"GET", b"POST") + b"Content-Type: text/xml\r\nContent-Length: 2\r\n\r\n<a"


class Busy:
    """Takes each call and keeps it until it is let go."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.taken = 0

    def __call__(self, _environ: Any, start_response: Any) -> list[bytes]:
        self.taken += 1
        self.release.wait(60)
        start_response("200 OK", [("Content-Length", "0")])
        return []


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    """The ERP's operations, none of which ends."""
    made = Busy()
    monkeypatch.setattr("legacy_soap.soap_api.soap_application", lambda *_: made)
    monkeypatch.setattr(
        http_server.Server.__init__, "__kwdefaults__", {"threads": 2, "max_connections": MAX_CONNECTIONS}
    )
    return made


@pytest.fixture
def port(busy: Busy, settings: Settings) -> Iterator[int]:
    with running(settings) as server:
        yield server.port
        busy.release.set()


def connected(stack: ExitStack, port: int, content: bytes) -> socket.socket:
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
    connection.sendall(content)
    return connection


async def test_health_is_told_while_all_threads_and_connections_are_taken(
    busy: Busy, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A call beyond them is refused with a problem that says when to come again."""
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            connected(stack, port, CALL)
        await eventually(lambda: busy.taken == 2 and f"Task queue depth is {MAX_CONNECTIONS - 2}" in caplog.text)
        for probe in ("/healthz", "/readyz"):
            assert http_call(port, "GET", probe)[0] == 200
        refused = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        stack.callback(refused.close)
        refused.request("POST", "/", b"<a", {"Content-Type": "text/xml"})
        answer = refused.getresponse()
        assert (answer.status, answer.getheader("Content-Type")) == (503, "application/problem+json")
        assert answer.getheader("Retry-After") == "1"
        assert busy.taken == 2
        busy.release.set()


async def test_an_idle_connection_makes_room(busy: Busy, port: int) -> None:
    """The one that has been idle longest is closed, and the newest is served."""
    busy.release.set()
    with ExitStack() as stack:
        idle = [connected(stack, port, b"") for _ in range(MAX_CONNECTIONS)]
        newest = connected(stack, port, CALL)
        assert newest.recv(12) == b"HTTP/1.1 200"
        assert idle[0].recv(1) == b""
        idle[-1].sendall(CALL)
        assert idle[-1].recv(12) == b"HTTP/1.1 200"


def test_a_head_that_does_not_end_is_refused(erp: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a byte more of it comes."""
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", erp.port), timeout=0.2) as slow:
        slow.sendall(HALF)
        answer = b""
        for _ in range(50):
            try:
                answer = slow.recv(12)
                break
            except TimeoutError:
                slow.sendall(b"x")
        assert answer == b"HTTP/1.1 408"
