"""The life of a connection: who gets in, what is refused, and how it ends."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
import websockets

from chassis import wall_clock
from services.notifier.domain import MAX_CLIENT_TOPICS, MAX_TOPICS
from services.notifier.transports.ws_api import WebSocketConnection
from tests.notifier.conftest import Client, Stage, an_event, counted, token
from tests.waiting import eventually


async def close_code(url: str, **arguments: object) -> tuple[int | None, str | None]:
    async with websockets.connect(url, open_timeout=60, **arguments) as socket:  # type: ignore[arg-type]
        await socket.wait_closed()
        return socket.close_code, socket.close_reason


@pytest.mark.parametrize("wrong", ["", "nonsense", "expired", "forged"])
async def test_bad_token_closes_4401(stage: Stage, wrong: str) -> None:
    """A missing, malformed, expired or forged token closes 4401 after the upgrade."""
    tokens = {"": "", "nonsense": "nonsense", "expired": token(lifetime=-1), "forged": token()[:-8] + "AAAAAAAA"}
    async with stage.notifier() as copy:
        query = f"?token={tokens[wrong]}" if wrong else ""
        code, reason = await close_code(copy.url + query)
    assert code == 4401
    assert reason == ("INVALID_TOKEN" if wrong else "UNAUTHENTICATED")


async def test_token_may_come_in_the_query_or_as_a_subprotocol(stage: Stage) -> None:
    """Browsers, which cannot set headers, send the token in the query or as a subprotocol, which is echoed."""
    async with stage.notifier() as copy:
        async with websockets.connect(f"{copy.url}?token={token()}") as socket:
            await Client(socket).silence()
        subprotocol = websockets.Subprotocol(f"bearer.{token()}")
        async with websockets.connect(copy.url, subprotocols=[websockets.Subprotocol("other"), subprotocol]) as socket:
            assert socket.subprotocol == subprotocol
            await Client(socket).silence()


async def test_token_that_expires_while_connected_closes_4401(stage: Stage) -> None:
    """A connection outlives its token by no more than a moment."""
    async with stage.notifier() as copy, copy.client(token(lifetime=15)) as client:
        await client.silence()
        assert await client.close_code() == 4401


async def test_a_pong_has_the_position_that_was_reached(stage: Stage) -> None:
    """A client that no event concerns learns by its ping where it can go on; one that listens to nothing, nothing."""
    async with stage.notifier() as copy, copy.client() as client:
        await client.send(action="ping")
        assert await client.receive() == {"type": "pong"}
        await client.subscribe("order.*")
        await stage.broker.publish([an_event(owner="456"), an_event(owner="456")])

        async def reached() -> bool:
            await client.send(action="ping")
            return bool(await client.receive() == {"type": "pong", "position": "2"})

        await eventually(reached)


async def test_a_clock_that_is_set_back_prolongs_no_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection ends with its token by the time that has passed, too, as the token itself does."""
    async with stage.notifier() as copy, copy.client(token(lifetime=15)) as client:
        await client.silence()
        now = wall_clock.seconds
        monkeypatch.setattr(wall_clock, "seconds", lambda: now() - 3_600)
        assert await client.close_code() == 4401


@pytest.mark.parametrize("path", ["/notifications", "/notifications/stream?topics=%23"])
async def test_foreign_origin_is_refused(stage: Stage, path: str) -> None:
    """A page of a foreign origin gets 403, one of the same host or of an allowed origin gets in."""
    headers = {
        "Authorization": f"Bearer {token()}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    statuses = {}
    async with stage.notifier(allowed_origins=("https://shop.example",)) as copy, httpx.AsyncClient(timeout=60) as http:
        own = f"http://127.0.0.1:{copy.port}"
        for origin in ("https://evil.example", "null", "https://shop.example.evil", "https://shop.example", own):
            async with http.stream("GET", own + path, headers={**headers, "Origin": origin}) as response:
                statuses[origin] = response.status_code
                if response.status_code == 403:
                    assert json.loads(await response.aread())["code"] == "FOREIGN_ORIGIN"
    refused = {origin for origin, status in statuses.items() if status == 403}
    assert refused == {"https://evil.example", "null", "https://shop.example.evil"}


@pytest.mark.parametrize("size", [65_537, 1 << 20])
async def test_frame_over_64_kib_closes_1009(stage: Stage, size: int) -> None:
    """A frame of 64 KiB is read, a larger one closes 1009."""
    async with stage.notifier() as copy, copy.client() as client:
        await client.socket.send("x" * 65_536)
        assert (await client.receive())["code"] == "INVALID_FRAME"
        await client.socket.send("x" * size)
        assert await client.close_code() == 1009


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("not json", "INVALID_FRAME"),
        ("[]", "INVALID_FRAME"),
        (b"\x00\x01", "INVALID_FRAME"),
        ('{"action": "dance"}', "UNKNOWN_ACTION"),
        ('{"action": "subscribe"}', "INVALID_FRAME"),
        ('{"action": "subscribe", "topics": []}', "INVALID_TOPIC"),
        ('{"action": "subscribe", "topics": ["order paid"]}', "INVALID_TOPIC"),
        ('{"action": "subscribe", "topics": ["#.#.#.#.#.#.#.#.#"]}', "INVALID_TOPIC"),
        ('{"action": "subscribe", "topics": ["order.*"], "after": true}', "INVALID_FRAME"),
        ('{"action": "chat", "room": "o1"}', "INVALID_FRAME"),
        ('{"action": "chat", "room": "o1", "text": "  "}', "INVALID_TEXT"),
    ],
)
async def test_bad_frame_is_answered_with_an_error(stage: Stage, frame: str | bytes, code: str) -> None:
    """A frame that cannot be carried out is answered with a stable code, and the connection goes on."""
    async with stage.notifier() as copy, copy.client() as client:
        await client.socket.send(frame)
        answer = await client.receive()
        assert (answer["type"], answer["code"]) == ("error", code)
        await client.silence()


async def test_topics_of_a_client_are_bounded(stage: Stage) -> None:
    """However many frames they come in; what it has stays, and there is room again once it has unsubscribed."""
    topics = [f"order.t{number}" for number in range(MAX_CLIENT_TOPICS + 1)]
    async with stage.notifier() as copy, copy.client() as client:
        for begin in range(0, MAX_CLIENT_TOPICS, MAX_TOPICS):
            await client.send(action="subscribe", topics=topics[begin : begin + MAX_TOPICS])
            assert (await client.receive())["type"] == "subscribed"
        await client.send(action="subscribe", topics=[topics[-1]])
        assert (await client.receive())["code"] == "INVALID_TOPIC"
        await client.send(action="subscribe", topics=[topics[0]])
        assert (await client.receive())["type"] == "subscribed"
        await client.send(action="unsubscribe", topics=[topics[0]])
        assert (await client.receive())["type"] == "unsubscribed"
        await client.send(action="subscribe", topics=[topics[-1]])
        assert (await client.receive())["type"] == "subscribed"


async def test_too_many_frames_are_refused(stage: Stage) -> None:
    """A client that sends more frames than allowed gets an error, and is served again when it slows down."""
    async with stage.notifier(notifier_rate=0.2, notifier_burst=3.0) as copy, copy.client() as client:
        for _ in range(5):
            await client.send(action="ping")
        answers = [await client.receive() for _ in range(5)]
        assert [answer.get("code") for answer in answers].count("RATE_LIMITED") == 1  # then it waits

        async def served() -> bool:
            await client.send(action="ping")
            return bool((await client.receive())["type"] == "pong")

        await eventually(served)


async def test_stopped_reader_is_closed_1013_and_delays_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that stops reading is closed 1013 while every other client gets every event."""
    # It reads the close frame only after all events.
    monkeypatch.setattr("services.notifier.transports.ws_api._CLOSE_SECONDS", 60.0)
    many = 400
    async with (
        stage.notifier(notifier_backlog=64 << 10) as copy,
        copy.client(max_queue=1, ping_interval=None) as stopped,
        copy.client() as reader,
    ):
        await stopped.subscribe("order.*")
        await reader.subscribe("order.*")
        reading = asyncio.create_task(reader.events(many))
        for _ in range(many):
            await stage.broker.publish([an_event(filler="x" * 32_000)])
        assert len(await reading) == many
        received = 0
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await stopped.receive()
                received += 1
        assert stopped.socket.close_code == 1013
        assert received < many


async def test_client_that_takes_nothing_is_closed_by_time_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing of the little that waits for it is closed 1013 after the send timeout."""
    closing: list[int] = []
    begin_close = WebSocketConnection._begin_close

    def noted(connection: WebSocketConnection, code: int, reason: str) -> None:
        closing.append(code)
        begin_close(connection, code, reason)

    monkeypatch.setattr(WebSocketConnection, "_begin_close", noted)
    monkeypatch.setattr("services.notifier.transports.ws_api._CLOSE_SECONDS", 60.0)
    async with (
        stage.notifier(notifier_backlog=1 << 30, notifier_send_timeout=0.5) as copy,
        copy.client(max_queue=1, ping_interval=None) as stopped,
    ):
        await stopped.subscribe("order.*")
        for _ in range(300):
            await stage.broker.publish([an_event(filler="x" * 32_000)])
        await eventually(lambda: closing)
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await stopped.receive()
        assert stopped.socket.close_code == 1013


async def test_dead_peer_is_found_by_its_missing_pong(stage: Stage) -> None:
    """A client that does not answer pings is dropped."""
    async with stage.notifier(notifier_heartbeat=0.2) as copy:
        reader, writer = await asyncio.open_connection("127.0.0.1", copy.port)
        writer.write(
            f"GET /notifications?token={token()} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        async with asyncio.timeout(20):
            assert await reader.read() == b"\x89\x00"  # one ping, then the end
        writer.close()


async def test_stopping_closes_1001_after_what_was_sent(stage: Stage) -> None:
    """A copy that is stopped sends what it has, closes 1001, and its clients resume elsewhere without loss."""
    async with stage.notifier() as other:
        async with stage.notifier() as copy:
            client_context = copy.client()
            client = await client_context.__aenter__()
            await client.subscribe("order.*")
            await stage.broker.publish([an_event(number=number) for number in range(50)])

            async def sent() -> bool:
                return await counted(copy, "notifier_deliveries_total", protocol="WebSocket") == 50

            await eventually(sent)
        seen = []
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                seen.append(await client.receive())
        assert client.socket.close_code == 1001
        await client_context.__aexit__(None, None, None)
        assert [frame["data"]["number"] for frame in seen] == list(range(50))
        await stage.broker.publish([an_event(number=50)])
        async with other.client() as client:
            await client.subscribe("order.*", after=seen[-1]["id"])
            assert (await client.receive())["data"]["number"] == 50


async def test_full_copy_says_so(stage: Stage) -> None:
    """A copy that holds as many clients as it may answers 503 with Retry-After."""
    async with stage.notifier(notifier_max_clients=1) as copy, copy.client():
        with pytest.raises(websockets.InvalidStatus) as refusal:
            async with copy.client():
                pass
        assert refusal.value.response.status_code == 503
        assert refusal.value.response.headers["Retry-After"] == "1"


async def test_health(stage: Stage) -> None:
    """A copy is alive, and ready once it follows the log."""
    async with (
        stage.notifier() as copy,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{copy.port}", timeout=60) as http,
    ):
        assert (await http.get("/healthz")).json() == {"status": "alive"}

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await eventually(ready)
