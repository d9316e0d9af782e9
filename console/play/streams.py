"""Subscriptions over WebSocket and SSE: opened, then an order is placed, then its events are received."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import Frame, Opcode

from chassis.errors import invalid, unavailable
from chassis.observability.capture import capture
from chassis.observability.capture.messages import Form, Message
from chassis.observability.tracing import Span, SpanKind, Telemetry
from console.play.call import Answer

# Seconds for all that one subscription shows, and the most that it shows.
_LISTEN = 8.0
_MAX_FRAMES = 20
# The close code of a token that is refused.
_UNAUTHENTICATED = 4401
_LAST = frozenset({"order.shipped", "order.rejected", "order.cancelled"})

Read = Callable[[], Awaitable[str]]
Trigger = Callable[[], Awaitable[None]]


class StreamCalls:
    """`url` is the notifier's; `trust` is for TLS."""

    def __init__(self, url: str, trust: ssl.SSLContext | None, telemetry: Telemetry) -> None:
        self._url = url
        self._trust = trust
        self._telemetry = telemetry

    async def websocket(self, path: str, body: str, token: str, trigger: Trigger) -> Answer:
        """Send a frame, and listen while `trigger` makes something happen."""
        url = self._url.replace("http", "ws", 1) + path
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with self._span("WebSocket", path) as span:
            try:
                async with connect(
                    url, additional_headers=headers, ssl=self._trust, proxy=None, open_timeout=_LISTEN
                ) as socket:
                    began = time.perf_counter()
                    await socket.send(body)
                    _sent(span, body)
                    frames, size = await _received(partial(socket.recv, True), trigger, began)
            except ConnectionClosed as error:
                if error.rcvd is None or error.rcvd.code != _UNAUTHENTICATED:
                    raise unavailable("notifier") from error
                return Answer(error.rcvd.code, error.rcvd.reason, [], "", len(body.encode()), 0, 0, failed=True)
            except (OSError, WebSocketException) as error:
                raise unavailable("notifier") from error
            span.set_attribute("shop.bytes.sent", len(body.encode()))
            span.set_attribute("shop.bytes.received", size)
        return _answer(101, "Switching Protocols", frames, len(body.encode()), size, began)

    async def events(self, path: str, token: str, trigger: Trigger) -> Answer:
        """Read server-sent events while `trigger` makes something happen."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with self._span("SSE", path) as span:
            try:
                async with (
                    httpx.AsyncClient(trust_env=False, verify=self._trust or True, timeout=_LISTEN) as http,
                    http.stream("GET", self._url + path, headers=headers) as response,
                ):
                    began = time.perf_counter()
                    if response.status_code != 200:
                        text = (await response.aread()).decode(errors="replace")
                        span.set_attribute("http.response.status_code", response.status_code)
                        return Answer(
                            response.status_code, response.reason_phrase, [], text, 0, len(text), 0, failed=True
                        )
                    frames, size = await _received(partial(anext, _blocks(response)), trigger, began)
            except httpx.InvalidURL as error:
                raise invalid("the call cannot be made", path=str(error)) from error
            except (httpx.TransportError, StopAsyncIteration) as error:
                raise unavailable("notifier") from error
            span.set_attribute("shop.bytes.received", size)
        return _answer(200, "OK", frames, 0, size, began)

    def _span(self, protocol: str, path: str) -> Any:
        name = f"subscribe {path.partition('?')[0]}"
        return self._telemetry.span(name, SpanKind.CLIENT, protocol=protocol, peer="notifier")


async def _blocks(response: httpx.Response) -> AsyncIterator[str]:
    """The stream's blocks, one event each."""
    waiting = ""
    async for text in response.aiter_text():
        waiting += text
        while "\n\n" in waiting:
            block, _, waiting = waiting.partition("\n\n")
            yield block


async def _received(read: Read, trigger: Trigger, began: float) -> tuple[list[dict[str, Any]], int]:
    """Messages until the order's end, and their bytes; the first one confirms the subscription."""
    frames: list[dict[str, Any]] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_LISTEN):
            frames.append(_frame(await read(), began))
            await trigger()
            while len(frames) < _MAX_FRAMES and frames[-1]["type"] not in _LAST:
                frames.append(_frame(await read(), began))
    return frames, sum(len(each["text"].encode()) for each in frames)


def _frame(text: str, began: float) -> dict[str, Any]:
    return {"at_ms": round((time.perf_counter() - began) * 1_000, 1), "text": text, "type": _type_of(text)}


def _type_of(text: str) -> str:
    """The event's type, in a frame or in a block's data; empty for what is no event."""
    data = next((line[6:] for line in text.splitlines() if line.startswith("data: ")), text)
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError:
        return ""
    return str(content.get("type", "")) if isinstance(content, dict) else ""


def _sent(span: Span, body: str) -> None:
    frame = Frame(Opcode.TEXT, body.encode()).serialize(mask=False)
    capture.sent(span, Message(Form.WEBSOCKET, frame, len(frame), "application/json"))


def _answer(status: int, reason: str, frames: list[dict[str, Any]], sent: int, size: int, began: float) -> Answer:
    took = (time.perf_counter() - began) * 1_000
    return Answer(status, reason, [], "\n".join(each["text"] for each in frames), sent, size, took, frames=frames)
