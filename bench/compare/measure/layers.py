"""Layers of each protocol: the purpose of every byte, found in what the proxy recorded.

A span says how many bytes in a row belong to one layer. The spans of a direction cover all of its bytes, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import partial

import pamqp.commands
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame
from pamqp.frame import unmarshal

from bench.compare.measure.proxies import Recorded


class Layer(StrEnum):
    """Purpose of a byte. `SETUP` is once a connection; `CONTROL` is settings, windows, pings, acknowledgements."""

    SETUP = "set-up"
    HEAD = "head"
    IDENTITY = "identity"
    FRAMING = "framing"
    CONTROL = "control"
    BODY = "body"
    TLS = "TLS"


Span = tuple[Layer, int]
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_END = b"\r\n\r\n"
_GRPC_PREFIX, _TRAILERS = 5, 0x80
_HTTP2_FRAME_HEAD = 9
_AMQP_HEADER, _AMQP_FRAME_HEAD, _AMQP_FRAME_END = 8, 7, 1
_AMQP_METHOD, _AMQP_CONTENT_HEAD, _AMQP_BODY = 1, 2, 3


def spans(wire: str, recorded: Recorded) -> tuple[list[Span], list[Span]]:
    """The spans of both directions of a connection. `wire` is one of `READERS`."""
    return list(READERS[wire](bytes(recorded.up))), list(READERS[wire](bytes(recorded.down)))


def window(found: Iterable[Span], start: int, end: int) -> dict[str, int]:
    """Bytes of each layer between two offsets of a direction."""
    counted: Counter[str] = Counter()
    position = 0
    for layer, size in found:
        overlap = min(position + size, end) - max(position, start)
        if overlap > 0:
            counted[layer.value] += overlap
        position += size
    return dict(counted)


def _http1(data: bytes) -> Iterator[Span]:
    """RFC 9112: heads, then bodies by Content-Length or in chunks."""
    position = 0
    while position < len(data):
        end = data.find(_END, position) + len(_END)
        if end < len(_END):
            end = len(data)
        head = data[position:end]
        yield from _head(head)
        position = end
        length = _field(head, b"content-length")
        if length:
            content = data[position : position + int(length)]
            yield from _content(head, content)
            position += len(content)
        elif b"chunked" in _field(head, b"transfer-encoding"):
            pieces, position = _chunks(data, position)
            yield from _in_chunks(head, pieces)


def _head(head: bytes, layer: Layer = Layer.HEAD) -> Iterator[Span]:
    for line in head.splitlines(keepends=True):
        yield Layer.IDENTITY if line.lower().startswith(b"authorization:") else layer, len(line)


def _field(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        found, _, value = line.partition(b":")
        if found.lower() == name:
            return value.strip().lower()
    return b""


def _chunks(data: bytes, position: int) -> tuple[list[tuple[int, bytes]], int]:
    """Pairs of framing bytes and the content behind them, and where the body ends."""
    pieces: list[tuple[int, bytes]] = []
    while position < len(data):
        line = data.find(b"\r\n", position) + 2
        size = int(data[position:line].split(b";")[0], 16)
        pieces.append((line - position + 2, data[line : line + size]))
        position = line + size + 2
        if not size:
            break
    return pieces, position


def _in_chunks(head: bytes, pieces: list[tuple[int, bytes]]) -> Iterator[Span]:
    yield Layer.FRAMING, sum(framing for framing, _ in pieces)
    yield from _content(head, b"".join(content for _, content in pieces))


def _content(head: bytes, content: bytes) -> Iterator[Span]:
    if b"grpc-web" in _field(head, b"content-type"):
        yield from _grpc_messages(content)
    else:
        yield Layer.BODY, len(content)


def _grpc_messages(content: bytes) -> Iterator[Span]:
    """Length-prefixed messages; one with the trailers' flag is head (gRPC-Web)."""
    position = 0
    while position < len(content):
        size = int.from_bytes(content[position + 1 : position + _GRPC_PREFIX], "big")
        yield Layer.FRAMING, min(_GRPC_PREFIX, len(content) - position)
        yield Layer.HEAD if content[position] & _TRAILERS else Layer.BODY, size
        position += _GRPC_PREFIX + size


def _plain(content: bytes) -> Iterator[Span]:
    yield Layer.BODY, len(content)


def _http2(data: bytes, inside: Callable[[bytes], Iterator[Span]] = _grpc_messages) -> Iterator[Span]:
    """RFC 9113: the preface, then frames; header blocks stay together, as HPACK leaves them. `inside`: of DATA."""
    position = 0
    if data.startswith(_PREFACE):
        yield Layer.SETUP, len(_PREFACE)
        position = len(_PREFACE)
    while position + _HTTP2_FRAME_HEAD <= len(data):
        frame, size = Frame.parse_frame_header(memoryview(data)[position : position + _HTTP2_FRAME_HEAD])
        body = data[position + _HTTP2_FRAME_HEAD : position + _HTTP2_FRAME_HEAD + size]
        position += _HTTP2_FRAME_HEAD + size
        if isinstance(frame, DataFrame):
            yield Layer.FRAMING, _HTTP2_FRAME_HEAD
            yield from inside(body)
        elif isinstance(frame, HeadersFrame | ContinuationFrame):
            yield Layer.FRAMING, _HTTP2_FRAME_HEAD
            yield Layer.HEAD, size
        else:
            yield Layer.CONTROL, _HTTP2_FRAME_HEAD + size
    if position < len(data):
        yield Layer.CONTROL, len(data) - position


def _websocket(data: bytes) -> Iterator[Span]:
    """RFC 6455: the opening handshake, then frames; a masking key is framing."""
    end = data.find(_END) + len(_END)
    yield from _head(data[:end], Layer.SETUP)
    position = end
    while position + 2 <= len(data):
        opcode, second = data[position] & 0x0F, data[position + 1]
        size, extra = second & 0x7F, 0
        if size >= 126:
            extra = 2 if size == 126 else 8
            size = int.from_bytes(data[position + 2 : position + 2 + extra], "big")
        frame_head = 2 + extra + (4 if second & 0x80 else 0)
        if opcode >= 8:
            yield Layer.CONTROL, frame_head + size
        else:
            yield Layer.FRAMING, frame_head
            yield Layer.BODY, size
        position += frame_head + size


def _amqp(data: bytes) -> Iterator[Span]:
    """AMQP 0-9-1: the protocol header, then frames; acknowledgements and heartbeats are control."""
    position = 0
    if data.startswith(b"AMQP"):
        yield Layer.SETUP, _AMQP_HEADER
        position = _AMQP_HEADER
    while position + _AMQP_FRAME_HEAD <= len(data):
        kind, size = data[position], int.from_bytes(data[position + 3 : position + _AMQP_FRAME_HEAD], "big")
        whole = _AMQP_FRAME_HEAD + size + _AMQP_FRAME_END
        layer = _amqp_layer(kind, data[position : position + whole])
        yield Layer.FRAMING if layer in (Layer.HEAD, Layer.BODY) else layer, _AMQP_FRAME_HEAD + _AMQP_FRAME_END
        yield layer, size
        position += whole


def _amqp_layer(kind: int, frame: bytes) -> Layer:
    if kind == _AMQP_CONTENT_HEAD:
        return Layer.HEAD
    if kind == _AMQP_BODY:
        return Layer.BODY
    if kind != _AMQP_METHOD:
        return Layer.CONTROL
    method = unmarshal(frame)[2]
    if isinstance(method, pamqp.commands.Basic.Publish | pamqp.commands.Basic.Deliver):
        return Layer.HEAD
    return Layer.CONTROL if isinstance(method, pamqp.commands.Basic.Ack) else Layer.SETUP


def _tls(data: bytes) -> Iterator[Span]:
    """Encrypted: what is inside is known from the same call without TLS."""
    yield Layer.TLS, len(data)


READERS: dict[str, Callable[[bytes], Iterator[Span]]] = {
    "http1": _http1,
    "http2": _http2,
    "http2-plain": partial(_http2, inside=_plain),
    "websocket": _websocket,
    "amqp": _amqp,
    "tls": _tls,
}
