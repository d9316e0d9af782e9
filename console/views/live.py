"""A trace as a stream of server-sent events, while its order runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from chassis.background import wait
from console.domain import Trace
from console.hop_json import hop_json
from console.hops import State, hops
from console.store import TraceStore

# Seconds between two looks at a trace that is growing.
_EVERY = 0.1
# Seconds without news after which a trace is settled: after its order's last event, and without one.
_QUIET_AFTER_END, _QUIET = 0.6, 3.0
_KEEP_ALIVE = 15.0
_LAST_EVENTS = frozenset({"order.shipped", "order.rejected", "order.cancelled"})


async def events(store: TraceStore, trace_id: str) -> AsyncIterator[bytes]:
    """Yields `hop` for each hop that is new or has changed, `state` when only its state has, `settled`, `evicted`.

    And `gone` for one that turned out to be a side of another, whose spans came later.

    A trace may be watched before its first span arrives. It ends with `evicted`; `settled` may be followed by more.
    """
    changed = asyncio.Event()
    changed.set()
    sent: dict[str, dict[str, Any]] = {}
    settled = False
    with store.watching(trace_id, changed.set):
        while True:
            trace = store.get(trace_id)
            if store.evicted(trace_id):
                yield _event("evicted", {})
                return
            if changed.is_set():
                changed.clear()
                news = [] if trace is None else _news(trace, sent)
                settled = settled and not news
                for each in news:
                    yield each
                await asyncio.sleep(_EVERY)  # more is usually on its way
            elif await wait(changed, _KEEP_ALIVE if settled or trace is None else _quiet(trace, sent)):
                pass
            elif settled or trace is None or _under_way(sent):
                yield b": still here\n\n"
            else:
                settled = True
                yield _event("settled", {})


def ended(trace: Trace) -> bool:
    """Whether the trace has an order's last event."""
    return any(span.text("cloudevents.event_type") in _LAST_EVENTS for span in trace.spans.values())


def _quiet(trace: Trace, sent: Mapping[str, dict[str, Any]]) -> float:
    return _QUIET_AFTER_END if ended(trace) and not _under_way(sent) else _QUIET


def _under_way(sent: Mapping[str, dict[str, Any]]) -> bool:
    return any(hop["state"] == State.FLYING for hop in sent.values())


def _news(trace: Trace, sent: dict[str, dict[str, Any]]) -> list[bytes]:
    current = [hop_json(each) for each in hops(trace.spans.values())]
    gone = sent.keys() - {hop["id"] for hop in current}
    found = [_event("gone", {"id": each}) for each in sorted(gone)]
    for each in gone:
        del sent[each]
    for hop in current:
        former = sent.get(hop["id"])
        if former == hop:
            continue
        sent[hop["id"]] = hop
        if former is not None and {**former, "state": hop["state"]} == hop:
            found.append(_event("state", {"id": hop["id"], "state": hop["state"]}))
        else:
            found.append(_event("hop", hop))
    return found


def _event(name: str, content: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(content))
