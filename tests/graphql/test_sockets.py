"""Subscriptions: graphql-transport-ws towards clients, the notifier's stream behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import websockets

from chassis.clients import notifier
from graphql_server.bootstrap import Settings, run
from services.users.tokens import JwtSigner, new_signing_key
from tests.graphql.conftest import FakeGateway
from tests.graphql.sockets import FakeNotifier, SocketClient, connected
from tests.services.conftest import SIGNER, fake_users
from tests.waiting import eventually

UPDATES = "subscription { orderUpdates { id status event position } }"


def token(subject: str = "123") -> str:
    return SIGNER.sign(subject, "customer")[0]


@dataclass
class Server:
    url: str
    gateway: FakeGateway
    notifier: FakeNotifier

    def connected(self, **options: Any) -> AbstractAsyncContextManager[SocketClient]:
        return connected(self.url, **options)


StartServer = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture
async def start_server(settings: Settings, gateway: FakeGateway) -> AsyncIterator[StartServer]:
    """Starts a server between fakes of users, notifier and gateway, with other settings than the default."""
    notifier = FakeNotifier()

    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[Server]:
        changes = {
            "users_address": f"127.0.0.1:{users}",
            "notifier_url": f"http://127.0.0.1:{notifier.port}",
            **changes,
        }
        async with run(settings.model_copy(update=changes)) as running:
            yield Server(f"http://127.0.0.1:{running.port}/graphql", gateway, notifier)

    async with fake_users() as users, notifier.running():
        for subject in ("123", "456"):
            gateway.tokens[f"Bearer {token(subject)}"] = subject
        yield start


@pytest.fixture
async def server(start_server: StartServer) -> AsyncIterator[Server]:
    async with start_server() as started:
        yield started


async def subscribed(server: Server, client: SocketClient, query: str = UPDATES, **more: Any) -> None:
    """Subscribe as user 123, and wait until the notifier has it."""
    before = len(server.notifier.sockets)
    own = token()
    server.gateway.tokens[f"Bearer {own}"] = "123"
    await client.init(own)
    await client.subscribe("1", query, **more)
    await eventually(lambda: len(server.notifier.sockets) > before)


async def update(client: SocketClient) -> Any:
    message = await client.receive()
    assert (message["id"], message["type"]) == ("1", "next"), message
    return message["payload"]["data"]["orderUpdates"]


async def test_updates(server: Server) -> None:
    """What happens to the caller's orders comes as it happens, with the status that it has brought."""
    async with server.connected() as client:
        await subscribed(server, client)
        for event in ("placed", "confirmed", "paid", "shipped", "delivered", "cancelled", "rejected"):
            await server.notifier.say(f"order.{event}", "123-0")
            found = await update(client)
            status = {"placed": "pending", "delivered": "shipped"}.get(event, event)
            assert (found["id"], found["status"], found["event"]) == ("123-0", status, f"order.{event}")
        await server.notifier.say("order.of_a_later_version", "123-0")
        await server.notifier.say("order.paid", "123-1")
        assert (await update(client))["id"] == "123-1"


async def test_caller(server: Server) -> None:
    """The notifier is called with the caller's own token, from the payload or from the header."""
    async with server.connected() as client:
        await subscribed(server, client)
        assert "".join(server.notifier.sockets.values()).startswith("Bearer ey")
    await eventually(lambda: not server.notifier.sockets)
    own = token()
    async with server.connected(headers={"Authorization": f"Bearer {own}"}) as client:
        await client.init()
        await client.subscribe("1", UPDATES)
        assert await eventually(lambda: list(server.notifier.sockets.values())) == [f"Bearer {own}"]


async def test_one_order(server: Server) -> None:
    """With an order's id only its updates come; one that is not the caller's is refused at once."""
    query = "subscription ($id: ID) { orderUpdates(orderId: $id) { id } }"
    async with server.connected() as client:
        await subscribed(server, client, query, variables={"id": "123-1"})
        await server.notifier.say("order.paid", "123-0")
        await server.notifier.say("order.paid", "123-1")
        assert await update(client) == {"id": "123-1"}
        await client.subscribe("2", query, variables={"id": "456-0"})
        message = await client.receive()
        assert (message["id"], message["type"]) == ("2", "error")
        assert message["payload"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_fresh_order(server: Server) -> None:
    """Each update sees the order as it is then: nothing is remembered from the one before."""
    query = "subscription { orderUpdates { order { id items { product { name } } } } }"
    async with server.connected() as client:
        await subscribed(server, client, query)
        for _ in range(2):
            await server.notifier.say("order.paid", "123-0")
            assert (await update(client))["order"]["items"][1] == {"product": {"name": "Product 1"}}
    assert server.gateway.paths() == ["/v1/orders", "/v1/products"] * 2
    assert "X-Shop-Service" not in server.gateway.calls[-1].headers


async def test_partial_update(start_server: StartServer) -> None:
    """An update whose order cannot be read still comes, with an error that names the path."""
    async with start_server(graphql_budget=1.8) as server, server.connected() as client:
        server.gateway.slow.add("/v1/orders")
        await subscribed(server, client, "subscription { orderUpdates { status order { id } } }")
        await server.notifier.say("order.paid", "123-0")
        payload = (await client.receive())["payload"]
    assert payload["data"] == {"orderUpdates": {"status": "paid", "order": None}}
    assert payload["errors"][0]["path"] == ["orderUpdates", "order"]
    assert len(payload["errors"][0]["extensions"]["trace_id"]) == 32


async def test_resumes(server: Server) -> None:
    """When the notifier goes away for a moment, updates go on where they were: none is lost, none comes twice."""
    async with server.connected() as client:
        await subscribed(server, client)
        await server.notifier.say("order.placed", "123-0")
        assert (await update(client))["position"] == "101"
        await server.notifier.close(1001)
        await server.notifier.say("order.confirmed", "123-0")
        assert (await update(client))["position"] == "102"
        await server.notifier.say("order.paid", "123-0")
        assert (await update(client))["position"] == "103"
    assert server.notifier.after == [None, "101"]


async def test_client_resumes(server: Server) -> None:
    """A client that comes back with the position it had gets what it has missed."""
    for event in ("placed", "confirmed"):
        await server.notifier.say(f"order.{event}", "123-0")
    async with server.connected() as client:
        await subscribed(server, client, 'subscription { orderUpdates(after: "101") { event } }')
        assert await update(client) == {"event": "order.confirmed"}


async def test_too_long_away(server: Server) -> None:
    """A position that the notifier has forgotten is an error with a code, and the end of that subscription alone."""
    server.notifier.resync = True
    async with server.connected() as client:
        await client.init(token())
        await client.subscribe("1", 'subscription { orderUpdates(after: "1") { event } }')
        message = await client.receive()
        assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "EVENTS_MISSED")
        await client.send(type="ping")
        assert await client.receive() == {"type": "pong"}


async def test_longest_subscription_id_in_use(server: Server) -> None:
    """A reason is cut to the 123 bytes of UTF-8 that a close frame takes (RFC 6455, 5.5.1), and between characters."""
    async with server.connected() as client:
        await subscribed(server, client)
        for _ in range(2):
            await client.subscribe("é" * 64, "subscription { orderUpdates { event } }")
        code, reason = await client.closed()
    assert code == 4409
    assert reason is not None
    assert reason.startswith("Subscriber for ééé")
    assert 121 < len(reason.encode()) <= 123


async def test_notifier_gone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the notifier stays away, the connection is closed in a way after which clients come back by themselves."""
    monkeypatch.setattr(notifier, "_PAUSES", (0.01, 0.01))
    async with server.connected() as client:
        await subscribed(server, client)
        server.notifier.away = True
        await server.notifier.close(1001)
        assert await client.closed() == (1013, "UPSTREAM_UNAVAILABLE")


async def test_complete_frees(server: Server) -> None:
    """A client that has completed an operation gets no more of it, the notifier is let go, and the id is free."""
    async with server.connected() as client:
        await subscribed(server, client)
        await client.send(id="1", type="complete")
        await eventually(lambda: not server.notifier.sockets)
        await client.subscribe("1", "{ me { id } }")
        assert await client.receive() == {"id": "1", "type": "next", "payload": {"data": {"me": {"id": "123"}}}}
        assert await client.receive() == {"id": "1", "type": "complete"}
    async with server.connected() as client:
        await subscribed(server, client)
    await eventually(lambda: not server.notifier.sockets)


async def test_queries(server: Server) -> None:
    """Queries and mutations may come over the connection too, within the same limits."""
    async with server.connected() as client:
        await client.init()
        await client.subscribe("a", '{ product(id: "7") { name } }')
        payload = {"data": {"product": {"name": "Product 7"}}}
        assert await client.receive() == {"id": "a", "type": "next", "payload": payload}
        assert await client.receive() == {"id": "a", "type": "complete"}
        for query, code in (
            ("{", "GRAPHQL_PARSE_FAILED"),
            ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
            ("{ products(limit: 100) { " + "availability { stale } " * 9 + "} }", "QUERY_TOO_COMPLEX"),
            ("subscription { orderUpdates { id } }", "UNAUTHENTICATED"),
            ("subscription ($n: Int!) { orderUpdates { id } }", "GRAPHQL_VALIDATION_FAILED"),
            ("subscription ($o: ID!) { orderUpdates(orderId: $o) { id } }", "INVALID_INPUT"),
        ):
            await client.subscribe("b", query)
            message = await client.receive()
            assert (message["id"], message["type"]) == ("b", "error")
            assert message["payload"][0]["extensions"]["code"] == code
            assert message["payload"][0]["extensions"]["trace_id"]


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        '"x"',
        '{"type": "hello"}',
        '{"type": "connection_init", "payload": []}',
        '{"type": "connection_init", "payload": {"Authorization": 7}}',
        '{"type": "subscribe", "id": "1"}',
        '{"type": "subscribe", "id": "1", "payload": {}}',
        '{"type": "subscribe", "id": "1", "payload": [{"query": "{me{id}}"}]}',
        '{"type": "subscribe", "payload": {"query": "{me{id}}"}}',
        '{"type": "subscribe", "id": "", "payload": {"query": "{me{id}}"}}',
        '{"type": "complete"}',
        b"\x00",
    ],
)
async def test_invalid_messages(server: Server, message: str | bytes) -> None:
    """A message that is none of the protocol's closes with 4400."""
    async with server.connected() as client:
        await client.socket.send(message)
        code, reason = await client.closed()
    assert code == 4400
    assert reason is not None
    assert reason.startswith("Invalid message")


async def test_order_of_messages(server: Server, start_server: StartServer) -> None:
    """Subscribing first is 4401, initialising twice 4429, not at all 4408, and an id in use 4409."""
    async with server.connected() as client:
        await client.subscribe("1", "{ me { id } }")
        assert await client.closed() == (4401, "Unauthorized")
    async with server.connected() as client:
        await client.init()
        await client.send(type="connection_init")
        assert await client.closed() == (4429, "Too many initialisation requests")
    async with server.connected() as client:
        await subscribed(server, client)
        await client.subscribe("1", UPDATES)
        assert await client.closed() == (4409, "Subscriber for 1 already exists")
    async with start_server(graphql_init_timeout=0.2) as hasty, hasty.connected() as client:
        assert await client.closed() == (4408, "Connection initialisation timeout")


async def test_bad_tokens(server: Server) -> None:
    """A token that is foreign, expired or none at all closes with 4403, after which clients may try a new one."""
    foreign = JwtSigner([new_signing_key()], lifetime=60).sign("123", "customer")[0]
    for authorization in (f"Bearer {foreign}", "Bearer x", "Basic eDp5"):
        async with server.connected() as client:
            await client.send(type="connection_init", payload={"authorization": authorization})
            assert (await client.closed())[0] == 4403


async def test_expiring_token(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection ends with its token."""
    monkeypatch.setattr(SIGNER, "_lifetime", 15)
    async with server.connected() as client:
        await client.init(token())
        assert await client.closed() == (4403, "Forbidden: the token has expired")


async def test_pings(server: Server) -> None:
    """A ping is answered at any time, and a pong without a ping is no mistake."""
    async with server.connected() as client:
        await client.send(type="ping")
        assert await client.receive() == {"type": "pong"}
        await client.send(type="pong", payload={"a": 1})
        await client.init()


async def test_bounds(start_server: StartServer) -> None:
    """Operations of a connection, connections, and the bytes of a message are bounded."""
    async with (
        start_server(graphql_max_operations=2, graphql_max_sockets=1) as server,
        server.connected() as client,
    ):
        await subscribed(server, client)
        await client.subscribe("2", UPDATES)
        await client.subscribe("3", UPDATES)
        message = await client.receive()
        assert (message["id"], message["payload"][0]["extensions"]["code"]) == ("3", "TOO_MANY_OPERATIONS")
        async with server.connected() as other:
            assert await other.closed() == (1013, "too many connections to this copy: connect again later")
        await client.socket.send("x" * 300_000)
        assert (await client.closed())[0] == 1009
    await eventually(lambda: not server.notifier.sockets)


async def test_pace(start_server: StartServer) -> None:
    """A client that sends faster than it may is read more slowly, and gets no error."""
    async with start_server(graphql_socket_rate=5.0) as server, server.connected() as client:
        began = time.monotonic()
        for _ in range(12):
            await client.send(type="ping")
        assert [await client.receive() for _ in range(12)] == [{"type": "pong"}] * 12
        assert time.monotonic() - began >= 0.8  # a second's worth comes at once


async def test_a_notifier_that_freezes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription whose notifier no longer answers pings goes on over another connection, where it was."""
    monkeypatch.setattr("chassis.clients.notifier._HEARTBEAT", 1.0)
    server.notifier.frozen = True
    async with server.connected() as client:
        await subscribed(server, client)
        server.notifier.frozen = False
        assert await eventually(lambda: server.notifier.after[1:]) == ["100"]
        await server.notifier.say("order.paid", "123-0")
        assert (await update(client))["event"] == "order.paid"


async def test_a_call_names_the_client_of_its_socket(start_server: StartServer) -> None:
    """What came over a WebSocket is counted against the client that the gateway named, which a token of our own proves;
    without a name it is counted as before."""
    async with start_server(service_secret="x") as server:  # nosec B106
        named = {"X-Shop-Client": "192.0.2.7"}

        async def proved() -> bool:
            async with server.connected(headers=named) as client:
                await client.init(token())
                await client.subscribe("1", "{ me { id } }")
                await client.receive()
            found = server.gateway.calls[-1].headers
            return (found.get("X-Shop-Client"), found.get("X-Shop-Service", "")[:7]) == ("192.0.2.7", "Bearer ")

        await eventually(proved)
        async with server.connected() as client:
            await client.init(token())
            await client.subscribe("1", "{ me { id } }")
            await client.receive()
        assert not {"X-Shop-Client", "X-Shop-Service"} & server.gateway.calls[-1].headers.keys()


async def test_a_subscription_outlives_the_services_own_token(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each event's calls show the token that the service has by then, not the one with which a subscription began."""
    own = {"token": "first"}
    monkeypatch.setattr("chassis.clients.gateway.ServiceIdentity.__call__", lambda _: own["token"])
    async with start_server() as server, server.connected(headers={"X-Shop-Client": "192.0.2.7"}) as client:
        await subscribed(server, client, "subscription { orderUpdates { order { id } } }")
        for own["token"] in ("first", "second"):
            await server.notifier.say("order.paid", "123-0")
            await client.receive()
            called = server.gateway.calls[-1].headers
            assert (called["X-Shop-Service"], called["X-Shop-Client"]) == (f"Bearer {own['token']}", "192.0.2.7")


async def test_one_client_cannot_take_all_sockets(start_server: StartServer) -> None:
    """A client that has as many connections open as one may have gets no other, while other clients do."""
    first, other = {"X-Shop-Client": "192.0.2.7"}, {"X-Shop-Client": "192.0.2.8"}
    async with (
        start_server(graphql_max_sockets=4, graphql_max_sockets_of_client=2) as server,
        server.connected(headers=first) as one,
        server.connected(headers=first) as two,
    ):
        await one.init()
        await two.init()
        async with server.connected(headers=first) as refused:
            assert await refused.closed() == (1013, "too many connections of this client: close one first")
        async with server.connected(headers=other) as client:
            await client.init()
        await two.socket.close()

        async def admitted() -> bool:
            async with server.connected(headers=first) as client:
                await client.send(type="connection_init")
                try:
                    return bool(await client.receive() == {"type": "connection_ack"})
                except websockets.ConnectionClosed:
                    return False

        await eventually(admitted)


async def test_slow_reader(start_server: StartServer) -> None:
    """A reader that takes nothing for too long is closed with 1013; a connection beside it is not delayed."""
    async with (
        start_server(graphql_send_timeout=0.2) as server,
        server.connected() as slow,
        server.connected() as other,
    ):
        await subscribed(server, slow)

        async def flood() -> None:
            while server.notifier.sockets:
                await server.notifier.say("order.paid", "x" * 100_000)

        flooding = asyncio.create_task(flood())
        await other.init()
        await eventually(lambda: not server.notifier.sockets)
        flooding.cancel()
        await other.subscribe("1", "{ me { id } }")
        assert (await other.receive())["id"] == "1"
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await slow.receive()
        assert await slow.closed() == (1013, "too slow")


async def test_bad_document(server: Server) -> None:
    """A document that cannot be parsed, or is nested without end, is an error of its operation alone."""
    async with server.connected() as client:
        await client.init(token())
        for query, code in (
            ("subscription {", "GRAPHQL_PARSE_FAILED"),
            ("subscription { orderUpdates { " + "order { " * 300 + "}" * 302, "GRAPHQL_PARSE_FAILED"),
            ("subscription { orderUpdates { " + "order { " * 40 + "id" + "}" * 42, "GRAPHQL_VALIDATION_FAILED"),
            ("subscription A { orderUpdates { id } } subscription B { orderUpdates { id } }", "INVALID_INPUT"),
            ("query A { me { id } } query B { me { id } }", "INVALID_INPUT"),
            ("subscription { orderUpdates { nothing } }", "GRAPHQL_VALIDATION_FAILED"),
        ):
            await client.subscribe("1", query)
            message = await client.receive()
            assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", code), query
            assert len(message["payload"][0]["extensions"]["trace_id"]) == 32


@pytest.mark.parametrize("subprotocol", ["", "graphql-ws"])
async def test_other_subprotocols(server: Server, subprotocol: str) -> None:
    """Another subprotocol, the deprecated graphql-ws among them, closes with 4406."""
    try:
        async with server.connected(subprotocol=subprotocol) as client:
            assert (await client.closed())[0] == 4406
    finally:
        assert server.notifier.after == []


async def test_shutdown(start_server: StartServer) -> None:
    """A server that stops closes its connections with 1012: clients come back to another copy."""
    async with start_server() as server:
        connection = server.connected()
        client = await connection.__aenter__()
        await subscribed(server, client)
    assert (await client.closed())[0] == 1012
    await connection.__aexit__(None, None, None)


async def test_two_users(server: Server) -> None:
    """Each connection's events come over a connection of its own user's to the notifier."""
    async with server.connected() as ada, server.connected() as bob:
        tokens = {ada: token("123"), bob: token("456")}
        for client, own in tokens.items():
            server.gateway.tokens[f"Bearer {own}"] = "123" if client is ada else "456"
            await client.init(own)
            await client.subscribe("1", UPDATES)
        await eventually(lambda: len(server.notifier.sockets) == 2)
        assert sorted(server.notifier.sockets.values()) == sorted(f"Bearer {own}" for own in tokens.values())
