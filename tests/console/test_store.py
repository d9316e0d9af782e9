"""What the console keeps, and what it forgets."""

from __future__ import annotations

import pytest

from console.domain import AttributeValue, Kind
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
