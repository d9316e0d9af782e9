"""Requests that are no message of their type: refused as the client's fault, before a method sees them.

grpc.aio answers what a deserializer raises with UNKNOWN or INTERNAL, as if the server had failed. Here the deserializer
hands on what it could not read, and the boundary refuses it, once the caller is authenticated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from chassis.errors import ShopError, invalid


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Bytes that are no message; `reason` is the parser's."""

    reason: str

    def refusal(self) -> ShopError:
        """INVALID_INPUT."""
        return invalid(f"the request is not a message of its type: {self.reason}")


def reading(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A deserializer that raises for nothing that a client can send."""

    def read(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError as error:
            return Unreadable(str(error))

    return read


def readable(request: Any) -> Any:
    """A request as its method takes it; of a stream, an iterator. Raises INVALID_INPUT for what could not be read."""
    if isinstance(request, Unreadable):
        raise request.refusal()
    return _each(request) if isinstance(request, AsyncIterator) else request


async def _each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if isinstance(request, Unreadable):
            raise request.refusal()
        yield request
