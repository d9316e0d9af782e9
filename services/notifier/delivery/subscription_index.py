"""Subscription index: clients with the same rights, topics and protocol form one group, matched once per event."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chassis.broker.port import Event
from chassis.broker.topics import matches
from services.notifier.domain import channels_of
from services.notifier.frames import WireProtocol
from services.notifier.ports import ClientConnection

Topics = tuple[str, ...]


class Group:
    """Clients that get the same events over the same protocol."""

    __slots__ = ("connections", "protocol")

    def __init__(self, protocol: WireProtocol) -> None:
        self.protocol = protocol
        self.connections: set[ClientConnection] = set()


class SubscriptionIndex:
    def __init__(self, before_change: Callable[[], None]) -> None:
        """`before_change` is called before a group gets or loses a client: what is on its way is for those it has."""
        self._before_change = before_change
        # Channel -> topics and protocol -> group.
        self._channels: dict[str, dict[tuple[Topics, WireProtocol], Group]] = {}

    def deliver(self) -> None:
        """Write the gathered events to their receivers."""
        self._before_change()

    def join(self, channel: str, topics: Topics, connection: ClientConnection) -> None:
        self._before_change()
        groups = self._channels.setdefault(channel, {})
        key = (topics, connection.protocol)
        if key not in groups:
            groups[key] = Group(connection.protocol)
        groups[key].connections.add(connection)

    def leave(self, channel: str, topics: Topics, connection: ClientConnection) -> None:
        """Undo a `join`."""
        self._before_change()
        groups = self._channels[channel]
        group = groups[topics, connection.protocol]
        group.connections.remove(connection)
        if not group.connections:
            del groups[topics, connection.protocol]
        if not groups:
            del self._channels[channel]

    def of(self, event: Event) -> Iterator[Group]:
        """The authorized subscribers of an event."""
        for channel in channels_of(event):
            for (topics, _), group in self._channels.get(channel, {}).items():
                if any(matches(topic, event.type) for topic in topics):
                    yield group
