"""What the console keeps, and what it forgets."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from console.domain import AttributeValue, Captured, Kind
from console.store import Bounds, TraceStore, weight
from tests.console.spans import span


def _ids(store: TraceStore) -> list[str]:
    return [trace.trace_id for trace in store.newest(100)]


def test_the_newest_trace_comes_first() -> None:
    """Traces are listed by when they began, whichever span of theirs arrived first."""
    store = TraceStore(Bounds())
    store.add([span("a", trace_id="late", at=50), span("b", trace_id="early", at=10)])
    store.add([span("c", trace_id="latest", at=70), span("d", trace_id="late", at=5)])
    assert _ids(store) == ["latest", "early", "late"]


@pytest.mark.parametrize(
    "bounds",
    [Bounds(traces=2), Bounds(spans=2), Bounds(bytes=2 * weight(span("1")))],
    ids=["traces", "spans", "bytes"],
)
def test_the_oldest_trace_goes_first(bounds: Bounds) -> None:
    """Beyond any of the bounds the trace whose first span arrived first is forgotten."""
    store = TraceStore(bounds)
    for number in "123":
        store.add([span(number, trace_id=number, at=int(number))])
    assert _ids(store) == ["3", "2"]
    assert store.bytes == 2 * weight(span("1"))


def test_one_endless_trace_pushes_out_no_other() -> None:
    """A trace that is full refuses further spans and says how many; the others stay."""
    store = TraceStore(Bounds(trace_spans=3))
    store.add([span("1", trace_id="other")])
    assert store.add(span(str(number), trace_id="endless") for number in range(5)) == 2
    assert {trace.trace_id: len(trace.spans) for trace in store.newest(10)} == {"other": 1, "endless": 3}


def test_a_repeated_export_changes_nothing() -> None:
    """A span that arrives twice is there once, and is counted once."""
    store = TraceStore(Bounds())
    store.add([span("1")])
    once = store.bytes
    store.add([span("1")])
    assert store.bytes == once
    assert [len(trace.spans) for trace in store.newest(10)] == [1]


def test_a_trace_knows_its_order() -> None:
    """The order is the subject of an order event's span, and a trace can be found by it."""
    store = TraceStore(Bounds())
    about: dict[str, AttributeValue] = {"cloudevents.event_type": "order.placed", "cloudevents.event_subject": "o-1"}
    stock: dict[str, AttributeValue] = {"cloudevents.event_type": "stock.changed", "cloudevents.event_subject": "42"}
    store.add([span("1", trace_id="order", attributes=about), span("2", trace_id="stock", attributes=stock)])
    assert [trace.trace_id for trace in store.newest(10, order_id="o-1")] == ["order"]
    assert [trace.order_id for trace in store.newest(10)] == ["o-1", ""]


def test_the_root_is_the_span_without_a_parent_here() -> None:
    """A trace is named by its earliest span whose parent has not arrived, even if clocks disagree."""
    store = TraceStore(Bounds())
    store.add([span("child", Kind.SERVER, parent="root", at=0), span("root", Kind.CLIENT, parent="elsewhere", at=1)])
    (trace,) = store.newest(1)
    assert trace.root.span_id == "root"


def test_the_end_of_a_span_stays_known() -> None:
    """A span under way is replaced by itself with an end, and never the other way round, whatever arrives first."""
    store = TraceStore(Bounds())
    for first, second in ((True, False), (False, True)):
        store.add([span("1", under_way=first)])
        store.add([span("1", under_way=second)])
        (trace,) = store.newest(1)
        assert not trace.spans["1"].under_way
    assert store.bytes == weight(span("1"))


def test_captured_bytes_count() -> None:
    """What was captured takes memory, and is part of what is bounded."""
    message = Captured("grpc", b"x" * 4096, 4096)
    assert weight(replace(span("1"), sent=message, received=message)) > weight(span("1")) + 8_192


def test_an_evicted_trace_is_remembered_as_such() -> None:
    """A trace that made room is called evicted; one that never was is not."""
    store = TraceStore(Bounds(traces=1))
    store.add([span("1", trace_id="old")])
    store.add([span("1", trace_id="new")])
    assert (store.evicted("old"), store.evicted("new"), store.evicted("never")) == (True, False, False)


def test_a_watcher_is_told_of_each_change_of_its_trace() -> None:
    """A watcher of a trace is called when it grows, when it is evicted, and not any more afterwards."""
    store = TraceStore(Bounds(traces=1))
    told: list[str] = []
    with store.watching("mine", lambda: told.append("mine")):
        store.add([span("1", trace_id="mine"), span("2", trace_id="mine")])
        assert told == ["mine"] * 2
        store.add([span("1", trace_id="other")])
        assert told == ["mine"] * 3
    store.add([span("3", trace_id="mine")])
    assert told == ["mine"] * 3


def test_the_memory_that_is_counted_is_the_memory_that_is_taken() -> None:
    """What the store believes to hold differs from what it takes by less than a third, so that its bound is one."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        store = TraceStore(Bounds())
        for number in range(40):
            for each in range(50):
                facts: dict[str, AttributeValue] = {f"name.{n}": f"value {number} {each} {n}" for n in range(8)}
                message = Captured("grpc", bytes([each]) * 900, 900)
                one = span(f"{number:08x}{each:08x}", trace_id=f"{number:032x}", attributes=facts)
                store.add([replace(one, sent=message, received=replace(message, content=bytes([number]) * 700))])
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert abs(store.bytes / (after - before) - 1) < 1 / 3
