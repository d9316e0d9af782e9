"""The client of the shop's own HTTP servers, against servers that keep to HTTP/1.1 or break it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.clients import http_client as client_module
from chassis.clients.http_client import HttpClient, http_client
from chassis.observability.capture.capture import Capture
from chassis.observability.tracing import SpanKind, Telemetry
from tests.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_TIME = 10.0


@dataclass
class Server:
    """A stub: gives each connection its number, and answers each request by `answer`; None closes the connection."""

    answer: Callable[[int, bytes], Awaitable[bytes | None]]
    url: str = ""
    connections: int = 0
    open: int = 0
    requests: list[bytes] = field(default_factory=list)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, found, length = head.lower().partition(b"content-length: ")
                body = await reader.readexactly(int(length.partition(b"\r\n")[0])) if found else b""
                self.requests.append(head + body)
                answer = await self.answer(number, head)
                if answer is None:
                    return
                writer.write(answer)
                if b"Connection: close" in answer:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serving(
    answer: Callable[[int, bytes], Awaitable[bytes | None]], telemetry: Telemetry | None = None
) -> AsyncIterator[tuple[Server, HttpClient]]:
    stub = Server(answer)
    server = await asyncio.start_server(stub.connected, "127.0.0.1", 0)
    stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with http_client(stub.url, telemetry or Telemetry("test")) as client:
        yield stub, client
    await eventually(lambda: stub.open == 0)
    server.close()


def always(answer: bytes) -> Callable[[int, bytes], Awaitable[bytes | None]]:
    async def answered(_: int, __: bytes) -> bytes:
        return answer

    return answered


async def test_requests_one_after_another_take_one_connection() -> None:
    """A connection is kept open; the request has the host, and a body its length."""
    async with serving(always(OK)) as (server, client):
        for _ in range(3):
            response = await client.request("GET", "/a?b=c", {"Accept": "text/plain"}, timeout=_TIME)
            assert (response.status, response.content) == (200, b"ok")
            assert response.headers["content-type"] == response.headers["Content-Type"] == "text/plain"
        await client.request("POST", "/a", {}, b"body", timeout=_TIME)
        await client.request("POST", "/a", {}, timeout=_TIME)
    assert server.connections == 1
    host = server.url.removeprefix("http://").encode()
    assert server.requests[0] == b"GET /a?b=c HTTP/1.1\r\nHost: %s\r\nAccept: text/plain\r\n\r\n" % host
    assert server.requests[-2].endswith(b"Content-Length: 4\r\n\r\nbody")
    assert server.requests[-1].endswith(b"Content-Length: 0\r\n\r\n")


async def test_requests_at_once_take_as_many_connections_as_there_may_be() -> None:
    """What is more waits, and nothing is sent twice."""
    both, release = asyncio.Event(), asyncio.Event()

    async def held(number: int, _: bytes) -> bytes:
        if number == 2:
            both.set()
        await release.wait()
        return OK

    async with serving(held) as (server, _):
        client = HttpClient(server.url, Telemetry("test"), max_connections=2)
        requests = [asyncio.create_task(client.request("GET", "/", {}, timeout=_TIME)) for _ in range(6)]
        await both.wait()
        assert server.connections == 2
        release.set()
        assert {response.status for response in await asyncio.gather(*requests)} == {200}
        client.close()
    assert (server.connections, len(server.requests)) == (2, 6)


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n", b""),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n", b""),
    ],
)
async def test_a_response_ends_where_its_framing_says(answer: bytes, content: bytes) -> None:
    """RFC 9112, section 6.3: no body, a length, chunks, or the end of the connection; interim responses are no end."""
    async with serving(always(answer)) as (_, client):
        for _ in range(2):
            response = await client.request("GET", "/", {}, timeout=_TIME)
            assert response.content == content
            assert response.status >= 200


async def test_a_connection_that_is_to_be_closed_is_not_used_again() -> None:
    """RFC 9112, section 9.6."""
    async with serving(always(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) as (server, client):
        for _ in range(2):
            assert (await client.request("GET", "/", {}, timeout=_TIME)).content == b"ok"
    assert server.connections == 2


async def test_a_get_on_a_connection_closed_meanwhile_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a new connection, and once: one that a new connection does not answer either has failed.

    A POST is not sent again, for it may have been read (RFC 9110, section 9.2.2).
    """
    # So that a connection is taken whose end has arrived: the server's close and a request may cross each other.
    monkeypatch.setattr(client_module._Connection, "is_open", True)
    closing = {1, 2, 4}
    answered: set[int] = set()

    async def once(number: int, _: bytes) -> bytes | None:
        if number in closing and number in answered:
            return None
        answered.add(number)
        return OK

    async with serving(once) as (server, client):
        await client.request("GET", "/", {}, timeout=_TIME)
        assert (await client.request("GET", "/again", {}, timeout=_TIME)).content == b"ok"
        assert server.connections == 2
        with pytest.raises(ConnectionError):
            await client.request("POST", "/", {}, timeout=_TIME)
        assert sum(request.startswith(b"POST") for request in server.requests) == 1


async def test_a_request_that_no_connection_answers_fails() -> None:
    """Closed without an answer, closed within one, and with nothing that listens there."""

    async def nothing(_: int, __: bytes) -> None:
        return None

    async with serving(nothing) as (server, client):
        with pytest.raises(ConnectionError):
            await client.request("GET", "/", {}, timeout=_TIME)
        assert len(server.requests) == 1
    with pytest.raises(ConnectionError):
        await client.request("GET", "/", {}, timeout=_TIME)
    broken = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhalf"
    async with serving(always(broken)) as (_, client):
        with pytest.raises(ConnectionError):
            await client.request("GET", "/", {}, timeout=_TIME)


@pytest.mark.parametrize("answer", [b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"])
async def test_what_is_no_http_is_no_response(answer: bytes) -> None:
    """The request fails, and the connection is not used again."""
    async with serving(always(answer)) as (server, client):
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await client.request("GET", "/", {}, timeout=_TIME)
    assert server.connections == 2


async def test_a_response_without_a_request_is_never_taken_for_the_next_ones() -> None:
    """A server that answers twice gets a new connection for the next request."""

    async def twice(number: int, _: bytes) -> bytes:
        return OK + OK.replace(b"ok", b"no") if number == 1 else OK

    async with serving(twice) as (server, client):
        for _ in range(3):
            assert (await client.request("GET", "/", {}, timeout=_TIME)).content == b"ok"
    assert server.connections == 2


async def test_a_request_that_is_given_up_closes_its_connection() -> None:
    """After its time, or when it is cancelled: its late response is not the next request's."""
    # The event is held here: what waits for one that nobody holds may be collected, and ends where it is.
    reached, over = asyncio.Queue[bytes](), asyncio.Event()

    async def never(_: int, head: bytes) -> bytes | None:
        reached.put_nowait(head.split()[1])
        if head.startswith(b"GET / "):
            return OK
        await over.wait()
        return None

    async with serving(never) as (server, client):
        with pytest.raises(TimeoutError):
            await client.request("GET", "/late", {}, timeout=0.01)
        cancelled = asyncio.create_task(client.request("GET", "/cancelled", {}, timeout=_TIME))
        while await reached.get() != b"/cancelled":
            pass
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        before = server.connections
        assert (await client.request("GET", "/", {}, timeout=_TIME)).content == b"ok"
        assert server.connections == before + 1
        over.set()


async def test_an_idle_connection_is_not_used_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the server may be closing it, so that a request on it would fail."""
    monkeypatch.setattr(client_module, "_KEEP_ALIVE", 0.0)
    async with serving(always(OK)) as (server, client):
        for _ in range(3):
            await client.request("GET", "/", {}, timeout=_TIME)
    assert server.connections == 3


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/a b", {}),
        ("/\r\nX: y", {}),
        ("/ä", {}),
        ("/", {"X": "a\r\nY: b"}),
        ("/", {"X": "a\nY: b"}),
        ("/", {"X": "a\0b"}),
    ],
)
async def test_a_value_cannot_end_its_line(target: str, headers: dict[str, str]) -> None:
    """Else who chooses a value could write a request of their own (RFC 9112, section 11.1)."""
    async with serving(always(OK)) as (server, client):
        with pytest.raises(ValueError, match="must be"):
            await client.request("GET", target, headers, timeout=_TIME)
    assert not server.requests


async def test_request_and_response_are_captured() -> None:
    """Both as they went over the wire, with the span that the request was made in."""
    exporter = InMemorySpanExporter()
    process = Telemetry("test", capture=Capture())
    process.record(SimpleSpanProcessor(exporter))
    async with serving(always(OK), process) as (_, client):
        with process.span("GET /", SpanKind.CLIENT, protocol="REST"):
            await client.request("POST", "/there", {}, b"sent", timeout=_TIME)
    (span,) = exporter.get_finished_spans()
    assert [(event.name, (event.attributes or {})["capture.form"]) for event in span.events] == [
        ("capture.sent", "http-request"),
        ("capture.received", "http-response"),
    ]
