"""The same hostile requests to every HTTP server of the shop: gateway, notifier, webhooks, ERP and all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from chassis.http.health import showing_health
from chassis.observability.metrics_endpoint import showing_metrics
from chassis.observability.tracing import Telemetry
from partners.smtp_sink.mailbox import Mailbox
from partners.smtp_sink.smtp_server import serve_smtp
from shop.fault.links.control import controlled
from shop.fault.links.proxy import Proxy
from tests.shop import free_ports, shop_in_one_loop
from tests.system.raw_http import answer, answers, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

_URLS = {
    "gateway": "SHOP_GATEWAY_URL",
    "notifier": "SHOP_NOTIFIER_URL",
    "webhooks": "SHOP_WEBHOOKS_URL",
    "console": "SHOP_CONSOLE_URL",
    "graphql_server": "SHOP_GRAPHQL_URL",
    "legacy_soap": "SHOP_LEGACY_SOAP_URL",
    "payment_provider": "SHOP_PAYMENT_URL",
    "smtp_sink": "SHOP_MAIL_URL",
}
SERVERS = [*_URLS, "health", "metrics"]
# A path that can only be read, and its methods.
_READ_ONLY = dict.fromkeys(_URLS, "/healthz") | {"legacy_soap": "/", "health": "/healthz", "metrics": "/metrics"}

Ports = Mapping[str, int]


async def _ready() -> bool:
    return True


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ports(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ports]:
    """Where each server listens."""
    health, metrics = free_ports(2)
    async with (
        shop_in_one_loop(tmp_path_factory.mktemp("shop")) as shop,
        showing_health("127.0.0.1", health, _ready),
        showing_metrics("127.0.0.1", metrics),
    ):
        served = {name: urlsplit(shop.address(setting)).port or 0 for name, setting in _URLS.items()}
        yield {**served, "health": health, "metrics": metrics}


_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455's own
SMUGGLED = request("/smuggled")


def hostile(target: str, *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request whose connection would stay open, were it served."""
    return request(target, "Connection: keep-alive", *fields, method=method, body=body)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("token", ["foo", "h2c", "TLS/1.0", "websocket, foo"])
async def test_a_request_keeps_its_body_whatever_it_wants_to_upgrade_to(ports: Ports, server: str, token: str) -> None:
    """RFC 9110, section 7.8: an Upgrade that is not taken is ignored, and the body is no request of its own."""
    inner = hostile("/smuggled")
    sent = request("/nowhere", "Connection: Upgrade", f"Upgrade: {token}", method="POST", body=inner)
    found = await answers(ports[server], sent + request("/last"))
    # aiohttp drops what comes in one packet with such a request, so that the notifier ends the connection.
    assert [each.status for each in found] == ([404] if server == "notifier" else [404, 404])


async def test_a_sign_in_that_offers_http_2_is_read(ports: Ports) -> None:
    """As curl with `--http2` and Java's client send every request."""
    form = "Content-Type: application/x-www-form-urlencoded"
    fields = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA", form)
    body = b"username=demo%40shop.test&password=demo"
    offered = request("/v1/auth/token", "Connection: Upgrade, HTTP2-Settings, close", *fields, method="POST", body=body)
    for pieces in ((offered,), (offered[: -len(body)], body), tuple(bytes([each]) for each in offered)):
        found = await answer(ports["gateway"], *pieces)
        assert found.status == 200, found
        assert b"access_token" in found.body


@pytest.mark.parametrize("server", SERVERS)
async def test_the_body_of_a_websocket_handshake_is_no_request(ports: Ports, server: str) -> None:
    """Not even where WebSockets are spoken does a body turn into a request, or into frames."""
    path = {"notifier": "/notifications", "gateway": "/graphql", "graphql_server": "/graphql"}.get(server, "/nowhere")
    fields = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    sent = request(path, "Connection: Upgrade, close", *fields, body=SMUGGLED)
    assert 400 <= (await answer(ports[server], sent)).status < 500


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no Host"),
        pytest.param(hostile("/", "Host: y"), 400, id="two Hosts"),
        pytest.param(hostile("/", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501, id="gzip"),
        pytest.param(
            hostile("/", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
            501,
            id="gzip in lines",
        ),
        pytest.param(hostile("/", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400, id="two lengths"),
        pytest.param(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="chunks in 1.0"),
        pytest.param(hostile("/", "Content-Length: +3") + b"abc", 400, id="signed length"),
        pytest.param(hostile("/", "Content-Length: 3", "Content-Length: 4") + b"abcd", 400, id="different lengths"),
        pytest.param(hostile("/", "Content-Type: text/xml", "Content-Type: text/plain"), 400, id="two types"),
        pytest.param(hostile("/", "Authorization: Bearer a", "Authorization: Bearer b"), 400, id="two tokens"),
        pytest.param(request("/", host="a b/c"), 400, id="no name of a host"),
        pytest.param(hostile("/", "Expect: 200-ok"), 417, id="another expectation"),
        pytest.param(hostile("/", "X-Folded: a\r\n b"), 400, id="folded line"),
        pytest.param(hostile("a:443", method="CONNECT"), 501, id="CONNECT"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, id="HTTP/2.0"),
        pytest.param(hostile("/" + "a" * 66_000), 414, id="long target"),
        pytest.param(hostile("/", "X-Long: " + "a" * 125_000), 431, id="long field"),
    ],
)
async def test_what_two_servers_could_read_differently_is_refused(
    ports: Ports, server: str, sent: bytes, status: int
) -> None:
    """RFC 9112, sections 3.2, 6.1 and 6.3: once, with a problem that names its trace, and then the connection ends."""
    refused = await answer(ports[server], sent + SMUGGLED)
    # aiohttp's parser judges a packet as a whole, before any rule of ours.
    assert refused.status in ((status, 400) if server == "notifier" else (status,))
    refused.problem()


@pytest.mark.parametrize("server", SERVERS)
async def test_no_server_names_its_libraries(ports: Ports, server: str) -> None:
    """No answer, refusal or WebSocket handshake has a `Server` field, which would tell strangers versions."""
    websocket = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {_KEY}")
    path = {"notifier": "/notifications", "gateway": "/graphql", "graphql_server": "/graphql"}.get(server, "/nowhere")
    for sent in (
        request(_READ_ONLY[server], "Connection: close"),
        request("/nowhere", "Connection: close"),
        b"no HTTP at all\r\n\r\n",
        request("/", "Host: y", "Connection: close"),
        request(path, "Connection: Upgrade", *websocket),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[server])
        writer.write(sent)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
        assert not names & {b"server", b"via", b"x-powered-by"}, head


async def test_neither_do_the_labs_links(tmp_path: Path) -> None:
    """Nor does their API, on its Unix socket."""
    async with controlled(Proxy([]), tmp_path / "links"):
        connector = aiohttp.UnixConnector(str(tmp_path / "links"))
        async with aiohttp.ClientSession(connector=connector) as session:
            for path, status in (("/links", 200), ("/nowhere", 404)):
                async with session.get(f"http://links{path}") as found:
                    assert (found.status, found.headers.get("Server")) == (status, None)


async def test_neither_does_the_mail_sinks_greeting(tmp_path: Path) -> None:
    """What it says first is its own name and the protocol's."""
    async with serve_smtp(Mailbox(tmp_path, keep=1), Telemetry("test"), host="127.0.0.1", port=0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            assert await reader.readline() == b"220 smtp-sink.test ESMTP\r\n"
        writer.close()


@pytest.mark.parametrize("server", SERVERS)
async def test_a_head_of_too_many_lines_is_too_large(ports: Ports, server: str) -> None:
    """RFC 6585, section 5: 431, whichever limit of a server it is that stops short lines by the thousand."""
    sent = request("/", *(f"X-Line-{number:04}: {'a' * 10}" for number in range(3_000)))
    refused = await answer(ports[server], sent)
    assert refused.status == 431
    refused.problem()


@pytest.mark.parametrize("server", SERVERS)
async def test_what_is_expected_before_a_body_is_sent(ports: Ports, server: str) -> None:
    """RFC 9110, section 10.1.1: no server takes `Expect: 100-continue` amiss, and what is no expectation is none."""
    for expected in ("100-continue", "100-Continue"):
        found = await answer(ports[server], request(_READ_ONLY[server], f"Expect: {expected}"))
        assert found.status == 200, found


@pytest.mark.parametrize("server", ["gateway", "graphql_server", "notifier"])
@pytest.mark.parametrize(
    ("version", "key", "status"),
    [
        ("8", _KEY, 426),
        ("7", _KEY, 426),
        ("14", _KEY, 426),
        ("13", "short", 400),
        ("13", "!" * 24, 400),
        ("13", _KEY, 101),
    ],
)
async def test_a_websocket_is_opened_in_version_13_alone(
    ports: Ports, server: str, version: str, key: str, status: int
) -> None:
    """RFC 6455, section 4.4: another version is a 426 that names 13, and drafts' clients are not spoken to."""
    path = "/notifications" if server == "notifier" else "/graphql"
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: graphql-transport-ws")
    sent = request(path, *fields, f"Sec-WebSocket-Version: {version}", f"Sec-WebSocket-Key: {key}")
    found = await _handshake(ports[server], sent)
    assert found.startswith(b"HTTP/1.1 %d " % status), found
    if status == 426:
        assert b"\r\nsec-websocket-version: 13\r\n" in found.lower()
        assert b"\r\nupgrade: websocket\r\n" in found.lower()
    assert (b"application/problem+json" in found) is (status != 101)


async def _handshake(port: int, sent: bytes) -> bytes:
    """The head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            writer.write(sent)
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()


@pytest.mark.parametrize("server", [name for name in SERVERS if name not in ("notifier", "legacy_soap")])
@pytest.mark.parametrize("first", [1, 60_000, 65_000])
async def test_a_head_has_64_kib_however_it_comes(ports: Ports, server: str, first: int) -> None:
    """In whichever packets, after whichever other request."""
    head = request("/", *(f"X-Line-{number}: {'a' * 1000}" for number in range(124)))
    assert (await answer(ports[server], head[:first], head[first:])).status == 431
    earlier = request("/nowhere", "Connection: keep-alive", method="POST", body=b"hello") + head[:first]
    assert [each.status for each in await answers(ports[server], earlier, head[first:])] == [404, 431]


@pytest.mark.parametrize("server", SERVERS)
async def test_no_path_is_redirected(ports: Ports, server: str) -> None:
    """A path with one slash more is another path: nothing leads to the host that a request names."""
    for target in (_READ_ONLY[server].rstrip("/") + "/x/", "/webhooks/stripe/", "/api/traces/", "/mails/"):
        found = await answer(ports[server], request(target, host="evil.example"))
        # The console is not served under such a name at all.
        assert found.status == (403 if server == "console" else 404)
        assert "location" not in found.headers


@pytest.mark.parametrize("server", SERVERS)
async def test_no_such_path_and_no_such_method_are_problems(ports: Ports, server: str) -> None:
    """404, and 405 with the path's methods (RFC 9110, section 15.5.6)."""
    missing = await answer(ports[server], request("/nowhere"))
    assert missing.status == 404
    missing.problem()
    refused = await answer(ports[server], request(_READ_ONLY[server], method="DELETE"))
    assert refused.status == 405
    assert "GET" in refused.headers["allow"]
    refused.problem()


@pytest.mark.parametrize("server", SERVERS)
async def test_options_are_asked_of_the_whole_server(ports: Ports, server: str) -> None:
    """RFC 9110, section 9.3.7: `OPTIONS *` is answered, and `*` is the target of no other method."""
    found = await answer(ports[server], request("*", method="OPTIONS"))
    assert found.status == 204
    assert {"GET", "OPTIONS"} <= set(found.headers["allow"].split(", "))
    refused = await answer(ports[server], request("*"))
    assert refused.status == 400
    refused.problem()


@pytest.mark.parametrize("server", [name for name in SERVERS if name not in ("notifier", "legacy_soap")])
async def test_a_head_that_comes_too_slowly_is_told_so(
    ports: Ports, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408 as a problem (RFC 9110, section 15.5.9), also of a second request; a connection without a byte just ends."""
    monkeypatch.setattr("chassis.http.protocol._HEAD_TIMEOUT", 1.0)
    slow = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "
    refused = await answer(ports[server], slow)
    assert (refused.status, refused.problem()["code"]) == (408, "HEAD_TOO_SLOW")
    assert await answers(ports[server], b"") == []
    earlier = await answers(ports[server], request("/nowhere", "Connection: keep-alive"), b"G", slow[1:])
    assert [each.status for each in earlier] == [404, 408]


# What has come of a head when nothing more does, or only a byte now and then.
_UNFINISHED = (b"", b"GET /", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
_SLOW_CLIENTS = 200


async def _slow(port: int, begun: bytes, *, answered_before: bool, trickles: bool) -> bytes:
    """The answer to a client that does not complete its head, until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sending: asyncio.Task[None] | None = None

    async def trickle() -> None:
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"a")
                await writer.drain()
                with suppress(TimeoutError):  # the next byte is due after a second, unless the connection ends first
                    await asyncio.wait_for(writer.wait_closed(), 1)

    try:
        if answered_before:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(begun)
        if trickles:
            sending = asyncio.create_task(trickle())
        with suppress(ConnectionError):
            return await reader.read()
        return b""
    finally:
        if sending is not None:
            sending.cancel()
        writer.close()


@pytest.mark.timeout(120)
async def test_a_head_that_does_not_end_is_refused_everywhere_and_stops_no_other(ports: Ports) -> None:
    """Hundreds of clients at each port that never complete a head get 408 or a close soon; others are answered."""
    async with asyncio.TaskGroup() as group:
        slow = {
            server: [
                group.create_task(
                    _slow(
                        port,
                        _UNFINISHED[number % len(_UNFINISHED)],
                        answered_before=number % 10 == 9 and server != "legacy_soap",
                        trickles=number % 10 > 5 and number % len(_UNFINISHED) > 0,
                    )
                )
                for number in range(_SLOW_CLIENTS)
            ]
            for server, port in ports.items()
        }
        for server, port in ports.items():
            assert (await answer(port, request(_READ_ONLY[server]))).status in (200, 405)
        async with asyncio.timeout(60):
            told = {server: set(await asyncio.gather(*tasks)) for server, tasks in slow.items()}
    for server, answers_ in told.items():
        assert {each.partition(b"\r\n")[0] for each in answers_} <= {b"", b"HTTP/1.1 408 Request Timeout"}, server
