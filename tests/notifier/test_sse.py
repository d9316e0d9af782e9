"""The same events over SSE."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.notifier.conftest import Copy, Stage, an_event, numbered, token


class Stream:
    """An event stream as a browser reads it (WHATWG HTML, 9.2.6)."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_event_id = ""
        self._lines = response.aiter_lines()

    async def position(self) -> str:
        """Read on until the server has sent a position."""
        while not self.last_event_id:
            self._read(await anext(self._lines))
        return self.last_event_id

    async def reach(self, position: str) -> list[str]:
        """Read on until the stream is at a position; the positions on the way, this one included."""
        passed: list[str] = []
        while self.last_event_id != position:
            before = self.last_event_id
            self._read(await anext(self._lines))
            if self.last_event_id != before:
                passed.append(self.last_event_id)
        return passed

    async def event(self) -> dict[str, Any]:
        """The next event."""
        while True:
            line = await anext(self._lines)
            self._read(line)
            if line.startswith("data: "):
                event: dict[str, Any] = json.loads(line.removeprefix("data: "))
                return event

    def _read(self, line: str) -> None:
        if line.startswith("id: "):
            self.last_event_id = line.removeprefix("id: ")


@asynccontextmanager
async def streaming(copy: Copy, topics: str = "order.*", **headers: str) -> AsyncIterator[Stream]:
    headers = {
        "Authorization": f"Bearer {token()}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream("GET", copy.stream_url, params={"topics": topics}, headers=headers) as response,
    ):
        yield Stream(response)


async def test_stream_has_the_same_events_with_their_ids(stage: Stage) -> None:
    """An event arrives as over WebSocket, with its position as the stream's event id."""
    async with stage.notifier() as copy, streaming(copy) as stream, copy.client() as client:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert await stream.position() == "0"
        await client.subscribe("order.*")
        await stage.broker.publish([an_event("stock.changed"), an_event("order.paid")])
        event = await stream.event()
        assert event == await client.receive()
        assert stream.last_event_id == event["id"] == "2"


async def test_stream_resumes_from_last_event_id(any_stage: Stage) -> None:
    """A stream that was broken off goes on behind its Last-Event-ID, at another copy too."""
    async with any_stage.notifier() as copy, streaming(copy) as stream:
        await stream.position()
        await any_stage.broker.publish(numbered(1, 2))
        assert [(await stream.event())["data"]["number"] for _ in range(2)] == [1, 2]
        position = stream.last_event_id
    await any_stage.broker.publish(numbered(3, 4))
    async with any_stage.notifier() as copy, streaming(copy, Last_Event_ID=position) as stream:
        assert [(await stream.event())["data"]["number"] for _ in range(2)] == [3, 4]
        await any_stage.broker.publish(numbered(5, 5))
        assert (await stream.event())["data"]["number"] == 5


async def test_stream_resyncs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A position that is not in the log is answered with resync, and the next reconnection is not."""
    monkeypatch.setattr("services.notifier.delivery.session._BEHIND_SECONDS", 0.1)
    async with stage.notifier() as copy, streaming(copy, Last_Event_ID="777") as stream:
        assert await stream.event() == {"type": "resync"}
        assert await stream.position() == "0"


@pytest.mark.parametrize("authorization", ["", "Bearer nonsense"])
async def test_stream_needs_a_token(stage: Stage, authorization: str) -> None:
    """A missing or bad token is 401 with a challenge and problem+json."""
    async with stage.notifier() as copy, streaming(copy, Authorization=authorization) as stream:
        assert stream.response.status_code == 401
        assert stream.response.headers["www-authenticate"].startswith("Bearer")
        assert stream.response.headers["content-type"] == "application/problem+json"


async def test_bad_topic_is_422(stage: Stage) -> None:
    """A topic that cannot be one is 422."""
    async with stage.notifier() as copy, streaming(copy, "order paid") as stream:
        assert stream.response.status_code == 422


@pytest.mark.parametrize("last_event_id", ["x", "-1", "9" * 30, "0190b3f2-7c1e-7000-8000-000000000000"])
async def test_foreign_last_event_id_is_answered_with_resync(stage: Stage, last_event_id: str) -> None:
    """A Last-Event-ID of another stream is 200 and resync: after an error an EventSource would never come back."""
    async with stage.notifier() as copy, streaming(copy, Last_Event_ID=last_event_id) as stream:
        assert stream.response.status_code == 200
        assert await stream.event() == {"type": "resync"}
        assert await stream.position() == "0"
        await stage.broker.publish(numbered(1, 1))
        assert (await stream.event())["data"]["number"] == 1


async def test_expired_token_and_stopping_end_the_stream(stage: Stage) -> None:
    """A stream ends properly when its token expires and when the copy is stopped, so that the client comes back."""
    async with stage.notifier() as copy:
        async with streaming(copy, Authorization=f"Bearer {token(lifetime=15)}") as stream:
            assert stream.response.status_code == 200
            assert await stream.position() == "0"
            with pytest.raises(StopAsyncIteration):
                await stream.event()
        last = streaming(copy)
        stream = await last.__aenter__()
        await stream.position()
    with pytest.raises(StopAsyncIteration):
        await stream.event()
    await last.__aexit__(None, None, None)


async def test_a_stream_that_no_event_concerns_moves_on(stage: Stage) -> None:
    """Its client learns how far it has got, live and while it catches up, so that it reads nothing again later."""
    others = [an_event(owner="456") for _ in range(450)]
    async with stage.notifier(notifier_heartbeat=0.1) as copy, streaming(copy) as stream:
        assert await stream.position() == "0"
        await stage.broker.publish(others[:1])
        await stream.reach("1")
    await stage.broker.publish(others[1:])
    # Another copy, which reads what was missed from the log, in parts.
    async with stage.notifier(notifier_heartbeat=60.0) as copy:
        async with streaming(copy, Last_Event_ID="1") as stream:
            assert len(await stream.reach("450")) > 2
        async with streaming(copy, Last_Event_ID="450") as stream:
            await stream.position()
            await stage.broker.publish(numbered(1, 1))
            assert (await stream.event())["data"]["number"] == 1


async def test_quiet_stream_shows_that_it_is_alive(stage: Stage) -> None:
    """A stream on which nothing happens gets a comment now and then, which no client takes for an event."""
    async with stage.notifier(notifier_heartbeat=0.1) as copy, streaming(copy) as stream:
        await stream.position()
        async for line in stream._lines:
            if line.startswith(":"):
                break
        else:
            pytest.fail("the stream ended")
