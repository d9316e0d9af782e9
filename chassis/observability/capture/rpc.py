"""Messages of gRPC calls. What else a call consists of (HTTP/2 frames, compressed heads) its library does not show."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message as ProtobufMessage

from chassis.observability.capture import capture
from chassis.observability.capture.masked_protobuf import masked_bytes
from chassis.observability.capture.messages import Form, Message
from chassis.observability.capture.messages import grpc as framed
from chassis.observability.tracing import Span

T = TypeVar("T")
_DETAILS = "grpc-status-details-bin"


def keep_sent(span: Span, message: Any) -> None:
    """Keep a request of ours, or an answer of ours."""
    if (found := _message(message)) is not None:
        capture.sent(span, found)


def keep_received(span: Span, message: Any) -> None:
    """Keep a request of theirs, or an answer of theirs."""
    if (found := _message(message)) is not None:
        capture.received(span, found)


def keep_status_received(span: Span, error: grpc.aio.AioRpcError) -> None:
    """Keep the details of a failure (google.rpc.Status), if the upstream has given any."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            capture.received(span, Message(Form.GRPC_STATUS, value, len(value)))


def keep_status_sent(span: Span, details: bytes) -> None:
    """Keep the details of a failure of ours."""
    capture.sent(span, Message(Form.GRPC_STATUS, details, len(details)))


async def first_kept(
    keep: Callable[[Span, T], None], span: Span, messages: AsyncIterable[T]
) -> AsyncGenerator[T, None]:
    """Keep the first of a stream of messages, and pass all of them on."""
    first = True
    async for message in messages:
        if first:
            keep(span, message)
            first = False
        yield message


def _message(message: Any) -> Message | None:
    """The captured form; None for what is not a protobuf message."""
    if not isinstance(message, ProtobufMessage):
        return None
    return framed(Form.GRPC, masked_bytes(message))
