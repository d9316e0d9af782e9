"""Subscription index: clients with the same rights, topics and encoding form one group, matched once per event."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from chassis.broker.port import Event
from services.notifier.domain import channels_of, matches
from services.notifier.ports import Outlet
from services.notifier.transports.frames import Encoding

Topics = tuple[str, ...]


class SubscriptionIndex:
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
        """The authorized subscribers of an event, by their encoding."""
        for channel in channels_of(event):
            for (topics, encoding), outlets in self._channels.get(channel, {}).items():
                if _match(topics, event.type):
                    yield encoding, outlets


def _match(topics: Sequence[str], event_type: str) -> bool:
    return any(matches(topic, event_type) for topic in topics)
