"""The ports of the hub and the use cases."""

from __future__ import annotations

from typing import Protocol

from services.notifier.frames import Frame, WireProtocol


class ClientConnection(Protocol):
    """The way to one client."""

    @property
    def protocol(self) -> WireProtocol: ...

    @property
    def closing(self) -> int:
        """The code with which we close it; 0 while we do not."""

    def send(self, frame: Frame) -> bool:
        """Write a frame without waiting; True if it was written.

        A client that is too far behind is closed instead; what it misses is still in the log.
        """

    @property
    def behind(self) -> bool:
        """Whether so much waits for the client that there is no sense in writing more than what happens now."""

    async def ready(self) -> None:
        """Wait while the client is behind. Raises `ConnectionError` once it is closed."""

    def stalled_for(self) -> float:
        """Seconds for which the client has not taken a byte of what is waiting for it."""

    def close(self, code: int, reason: str) -> None:
        """Begin to close, and return at once."""


class Orders(Protocol):
    async def owner(self, order_id: str) -> str:
        """The owner of an order, as the current caller may see it. Raises NOT_FOUND, also for another customer's."""


class ChatLog(Protocol):
    async def post(self, *, order_id: str, owner: str, author: str, text: str) -> None:
        """Make it durable and visible to all in the room. Raises UPSTREAM_UNAVAILABLE."""
