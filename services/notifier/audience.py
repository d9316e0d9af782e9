"""Who listens: clients with the same rights, topics and encoding are one group; an event is matched once for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from chassis.broker.port import Event
from services.notifier.domain import channels_of, matches
from services.notifier.frames import Encoding
from services.notifier.ports import Outlet

Topics = tuple[str, ...]


class Audience:
    def __init__(self) -> None:
        # Channel -> topics and encoding -> outlets.
        self._channels: dict[str, dict[tuple[Topics, Encoding], set[Outlet]]] = {}

    def join(self, channel: str, topics: Topics, outlet: Outlet) -> None:
        groups = self._channels.setdefault(channel, {})
        groups.setdefault((topics, outlet.encoding), set()).add(outlet)

    def leave(self, channel: str, topics: Topics, outlet: Outlet) -> None:
        """Undo a `join`."""
        groups = self._channels[channel]
        group = groups[topics, outlet.encoding]
        group.remove(outlet)
        if not group:
            del groups[topics, outlet.encoding]
        if not groups:
            del self._channels[channel]

    def of(self, event: Event) -> Iterator[tuple[Encoding, Collection[Outlet]]]:
        """Everyone who may see an event and wants it, by what encoding they get it in."""
        for channel in channels_of(event):
            for (topics, encoding), outlets in self._channels.get(channel, {}).items():
                if _match(topics, event.type):
                    yield encoding, outlets


def _match(topics: Sequence[str], event_type: str) -> bool:
    return any(matches(topic, event_type) for topic in topics)
