"""The list of traces for people: each leads to its X-ray on the console's page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from chassis.webpages import html
from console.domain import Trace


def traces_page(traces: Sequence[Trace]) -> bytes:
    """A table of traces, newest first."""
    rows = [
        (
            escape(f"{datetime.fromtimestamp(trace.started_ns / 1e9, UTC):%H:%M:%S}"),
            html.link(f"/?trace={trace.trace_id}#order", trace.root.name),
            f"{len(trace.services)}",
            f"{trace.duration_ms:,.0f}",
            escape(trace.order_id),
            "failed" if trace.failed else "",
            html.link(f"/api/traces/{trace.trace_id}/hops", "JSON"),
        )
        for trace in traces
    ]
    columns = ("Began (UTC)", "Trace", "Processes", "ms", "Order", "", "")
    body = html.table(columns, rows) if rows else html.text("No trace yet: make a request.", "soft")
    return html.page("Traces · Polyglot Shop", f"<p>{html.link('/', 'The console')} draws them.</p>", body)
