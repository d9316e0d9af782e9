"""WebSocket client of the notifier, for commands."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from shop.errors import Refused

# Enough for a machine that a fault or a test suite keeps busy; a connection that is refused shows at once.
_TIMEOUT = 15.0
_CLOSED_BY_TOKEN = 4401

Frame = dict[str, Any]


class LostError(Exception):
    """The connection has ended; `expired` when the token was the reason."""

    def __init__(self, reason: str, *, expired: bool) -> None:
        super().__init__(reason)
        self.expired = expired


class UnreachableError(Refused):
    """The notifier does not answer."""


class ForgottenError(Exception):
    """The event log no longer holds the events after the requested position."""


class Live:
    """An open connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def subscribe(self, topics: Sequence[str], after: str = "") -> str:
        """Subscribe to the events of these topics; those after a position first, if one is given.

        Returns, once it is so, the position after which they come. Raises like `frame`.
        """
        request: Frame = {"action": "subscribe", "topics": list(topics)}
        if after:
            request["after"] = after
        self._send(request)
        for frame in self.frames(_TIMEOUT):
            if frame.get("type") == "subscribed":
                return str(frame.get("position", after))
        raise UnreachableError("the notifier did not answer in time")

    def chat(self, room: str, text: str) -> Iterator[Frame]:
        """Post a message in an order's room; yields the events of the room up to and with this one.

        Needs a subscription to `chat.*`. Raises like `frame`, and `Refused` when the event does not come.
        """
        self._send({"action": "chat", "room": room, "text": text})
        for frame in self.frames(_TIMEOUT):
            if frame.get("type") != "chat.posted" or frame.get("subject") != room:
                continue
            yield frame
            if frame["data"].get("text") == text.strip():
                return
        raise UnreachableError("the notifier did not answer in time")

    def _send(self, request: Frame) -> None:
        try:
            self._connection.send(json.dumps(request))
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    def frame(self, within: float | None = None) -> Frame | None:
        """The next frame; None when none arrived within so many seconds.

        Raises `LostError` and `ForgottenError`, and `Refused` for an error frame.
        """
        try:
            frame: Frame = json.loads(self._connection.recv(timeout=within))
        except TimeoutError:
            return None
        except ConnectionClosed as closed:
            raise _lost(closed) from closed
        match frame.get("type"):
            case "error":
                raise Refused(f"the notifier refused: {frame.get('code')}: {frame.get('message')}")
            case "resync":
                raise ForgottenError
        return frame

    def frames(self, within: float) -> Iterator[Frame]:
        """The frames of the next so many seconds."""
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            frame = self.frame(left)
            if frame is not None:
                yield frame


@contextmanager
def live(notifier_url: str, token: str, *, trust: ssl.SSLContext | None = None) -> Iterator[Live]:
    """Connect to a notifier; `trust` is for WSS. Raises `UnreachableError` when it does not answer."""
    url = f"ws{notifier_url.removeprefix('http')}/notifications"
    try:
        connection = connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"},
            open_timeout=_TIMEOUT,
            close_timeout=1,
            proxy=None,
            ssl=trust,
        )
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise UnreachableError(f"the notifier at {url} does not answer ({error}); is the shop up?") from error
    with connection:
        yield Live(connection)


def _lost(closed: ConnectionClosed) -> LostError:
    code = closed.rcvd.code if closed.rcvd else 0
    reason = closed.rcvd.reason if closed.rcvd else "the connection broke"
    return LostError(f"{code} {reason}".strip(), expired=code == _CLOSED_BY_TOKEN)
