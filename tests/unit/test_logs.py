"""A log line tells the process, the facts, and the trace that it belongs to."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from chassis.logs import JsonFormatter, TextFormatter
from chassis.telemetry import SpanKind, Telemetry, current_trace_id


def a_record(message: str = "order placed", **extra: Any) -> logging.LogRecord:
    logger = logging.getLogger("test")
    return logger.makeRecord("test", logging.INFO, __file__, 1, message, (), None, extra=extra)


def a_failure() -> logging.LogRecord:
    try:
        raise LookupError("nothing there")
    except LookupError:
        return logging.getLogger("test").makeRecord(
            "test", logging.ERROR, __file__, 1, "went wrong", (), sys.exc_info()
        )


def test_json_line() -> None:
    """A line for machines is one JSON object with time, level, process, message and what was passed as extra."""
    line = JsonFormatter("orders").format(a_record(order_id="o1", attempt=2))
    assert "\n" not in line
    found = json.loads(line)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found.pop("time"))).total_seconds()) < 60
    assert found == {
        "level": "info", "process": "orders", "message": "order placed", "order_id": "o1", "attempt": 2,
    }  # fmt: skip


def test_text_line() -> None:
    """A line for people has the same facts, readable."""
    line = TextFormatter("orders").format(a_record(order_id="o1"))
    assert line.endswith("order placed order_id=o1")
    assert " orders " in line


def test_line_within_a_trace_names_it() -> None:
    """What is logged during a request has the request's trace id, in both forms."""
    with Telemetry("test").span("x", SpanKind.SERVER, protocol="REST"):
        trace_id = current_trace_id()
        assert json.loads(JsonFormatter("orders").format(a_record()))["trace_id"] == trace_id
        assert f"trace_id={trace_id}" in TextFormatter("orders").format(a_record())
    assert "trace_id" not in json.loads(JsonFormatter("orders").format(a_record()))


def test_failure_brings_its_traceback() -> None:
    """An exception's traceback is in the line: inside the JSON object, or under the text."""
    found = json.loads(JsonFormatter("orders").format(a_failure()))
    assert "LookupError: nothing there" in found["exception"]
    assert TextFormatter("orders").format(a_failure()).endswith("LookupError: nothing there")


def test_strange_facts_do_not_lose_the_line() -> None:
    """What JSON has no form for is written as text: a line is never lost over a fact."""
    assert json.loads(JsonFormatter("orders").format(a_record(what={1}, who=KeyError)))["what"] == "{1}"
    assert json.loads(JsonFormatter("orders").format(a_record(what=2**70)))["message"] == "order placed"
    assert json.loads(JsonFormatter("orders").format(a_record("\ud800")))["process"] == "orders"
