"""Which addresses are called (SSRF): checked as text, by name, and at the moment of connecting."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.errors import ShopError
from chassis.observability.tracing import Telemetry
from tests.waiting import eventually
from tests.webhooks.outbound import partner
from webhooks.outgoing.addresses import check_target, is_public
from webhooks.outgoing.domain import Attempt, Delivery, Endpoint, target_of
from webhooks.outgoing.lookup import EndpointNames
from webhooks.outgoing.sender import http_sender

REFUSED = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.88.99.1",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "fe80::1",
    "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "100::1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::",
    "2001:0:7f00:1::", "3fff::1", "4000::1", "localhost", "", "127.1",
]  # fmt: skip
PERMITTED = ["93.184.216.34", "8.8.8.8", "172.32.0.1", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    """Loopback, private, link-local, metadata, reserved: in IPv4, in IPv6, and in IPv6 that stands for IPv4."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PERMITTED)
def test_a_public_address_is_called(address: str) -> None:
    """What belongs to the public Internet is permitted."""
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "http://example.com/",
        "https://",
        "https:///path",
        "https://user:secret@example.com/",
        "https://user@example.com/",
        "https://example.com/#fragment",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/\r\nHost: other",
        "https://[::1",
        "https://exämple.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://example.com/" + "x" * 2_000,
    ],
)
def test_a_url_that_is_no_target_is_refused(url: str) -> None:
    """Only plain https URLs are targets."""
    with pytest.raises(ShopError) as refused:
        target_of(url, allow_plain=False)
    assert set(refused.value.fields) == {"url"}


def test_a_target_has_a_host_and_a_port() -> None:
    """The port is the scheme's unless the URL names one; http only where it is allowed."""
    assert target_of("https://example.com/hook?a=b", allow_plain=False) == ("example.com", 443)
    assert target_of("https://[2606:2800::1]:8443/", allow_plain=False) == ("2606:2800::1", 8443)
    assert target_of("http://example.com", allow_plain=True) == ("example.com", 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost", "::1", "[::1]"])
async def test_whatever_a_host_is_called_its_address_counts(host: str) -> None:
    """However this machine is written, it is refused, in words that disclose nothing of our network."""
    with pytest.raises(ShopError) as refused:
        await check_target(host, 443, is_public, EndpointNames().look_up)
    assert set(refused.value.fields) == {"url"}


async def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with a public and a private address is refused."""

    def lookup(*_: Any, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(ShopError):
        await check_target("example.com", 443, is_public, EndpointNames().look_up)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_the_address_is_checked_when_connecting(host: str) -> None:
    """An endpoint whose name led elsewhere when it was registered is not called: no connection is made at all."""
    async with partner() as theirs, http_sender(is_public, Telemetry("test"), timeout=5) as sender:
        port = theirs.url.rpartition(":")[2]
        attempt = await sender.send(_endpoint(f"http://{host}:{port}/hook"), _delivery())
    assert attempt.status_code == 0
    assert "must be on the public Internet" in attempt.error
    assert theirs.requests == []


async def test_a_name_is_looked_up_once_and_its_address_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the check and the connection there is no second lookup that could answer otherwise (DNS rebinding)."""
    answers = ["127.0.0.1", "10.0.0.1"]
    checked: list[str] = []
    async with partner() as theirs:
        port = int(theirs.url.rpartition(":")[2])
        real = socket.getaddrinfo

        def rebinding(host: Any, *rest: Any, **named: Any) -> Any:
            if host == "rebinding.test":
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]
            return real(host, *rest, **named)

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)

        def permitted(address: str) -> bool:
            checked.append(address)
            return address == "127.0.0.1"

        async with http_sender(permitted, Telemetry("test"), timeout=5) as sender:
            attempts = [await _to(sender, port) for _ in range(2)]
    assert checked == ["127.0.0.1", "10.0.0.1"]
    assert [attempt.status_code for attempt in attempts] == [200, 0]
    assert len(theirs.requests) == 1


async def test_a_name_server_that_does_not_answer_holds_up_its_own_names_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Webhooks to other names are sent, and endpoints registered, while lookups of one customer's names hang."""
    may_answer = threading.Event()
    looked_up: Counter[str] = Counter()
    async with partner() as theirs, AsyncExitStack() as stack:
        port = int(theirs.url.rpartition(":")[2])

        def getaddrinfo(host: str, *_: Any, **__: Any) -> Any:
            looked_up[host] += 1
            if host.startswith("silent"):
                may_answer.wait(60)
                raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        stack.callback(may_answer.set)
        sender = await stack.enter_async_context(http_sender(lambda _: True, Telemetry("test"), timeout=30))
        silent = [f"silent{number % 20}.test" for number in range(80)]
        waiting = [asyncio.create_task(_to(sender, port, name)) for name in silent]
        await eventually(lambda: len(looked_up) == 20)
        async with asyncio.timeout(10):
            assert (await _to(sender, port, "answers.test")).status_code == 200
            await check_target("answers.test", port, lambda _: True, EndpointNames().look_up)
        # One lookup for each name, however many wait for it.
        assert set(looked_up.values()) == {1, 2}
        assert looked_up["answers.test"] == 2
        may_answer.set()
        assert {attempt.status_code for attempt in await asyncio.gather(*waiting)} == {0}


async def _to(sender: Any, port: int, host: str = "rebinding.test") -> Attempt:
    attempt: Attempt = await sender.send(_endpoint(f"http://{host}:{port}/hook"), _delivery())
    return attempt


def _endpoint(url: str) -> Endpoint:
    return Endpoint("we_1", "123", False, url, ["order.*"], "", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", _NOW)


def _delivery() -> Delivery:
    return Delivery("msg_1", "we_1", "e1", "order.paid", "77", b"{}", "", _NOW)


_NOW = datetime(2026, 3, 1, tzinfo=UTC)
