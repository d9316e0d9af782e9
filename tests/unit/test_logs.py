"""A log line has the process, the facts, and the trace that it belongs to."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.observability import access_log, logs
from chassis.observability.logs import JsonFormatter, TextFormatter
from chassis.observability.tracing import SpanKind, Telemetry, current_trace_id


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

    """Warnings and all errors, of threads and finalizers too, are lines like any other; nothing is said elsewhere."""
    program = (
        "import threading, warnings\n"
        "from chassis.observability import logs\n"
        "logs.configure('orders', log_format='json', level='info')\n"
        "warnings.warn('beware')\n"
        "class Last:\n"
        "    def __del__(self): raise KeyError('late')\n"
        "def work(): raise LookupError('nothing there')\n"
        "thread = threading.Thread(target=work, name='worker')\n"
        "thread.start()\n"
        "thread.join()\n"
        "Last()\n"
        "raise ValueError('no such thing')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")
    warned, thread, finalizer, failed = (json.loads(line) for line in ended.stdout.splitlines())
    assert (warned["process"], warned["level"]) == ("orders", "warning")
    assert "beware" in warned["message"]
    assert (thread["level"], thread["message"]) == ("critical", "thread worker ended by an error: nothing there")
    assert thread["exception"].endswith("LookupError: nothing there")
    assert finalizer["exception"].endswith("KeyError: 'late'")
    assert (failed["level"], failed["message"]) == ("critical", "process ended by an error: no such thing")
    assert failed["exception"].endswith("ValueError: no such thing")


LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3} INFO    gateway          GET /v1/orders 200 7.5 ms 12 B trace_id=abc\n")


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_access_lines_have_the_format_of_all_lines(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An access line for people is written at once and looks like the others; one for machines is a JSON object."""
    access_log.configure(as_text=log_format == "text")
    try:
        access_log.write(
            process="gateway", message="GET /v1/orders", status=200, ms=7.5, bytes=12, client="::1", trace_id="abc"
        )
        written = capsys.readouterr().out
        if log_format == "text":
            assert LINE.fullmatch(written)
        else:
            assert written == ""
            access_log.flush()
            line = json.loads(capsys.readouterr().out)
            assert (line["process"], line["message"], line["client"]) == ("gateway", "GET /v1/orders", "::1")
    finally:
        access_log.configure(as_text=False)


@pytest.mark.parametrize(("setting", "terminal", "text"), [("", True, True), ("", False, False), ("json", True, False)])
def test_format_follows_the_terminal(setting: str, terminal: bool, text: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless SHOP_LOG_FORMAT says which, lines are text in a terminal and JSON elsewhere."""
    monkeypatch.setattr(sys, "stdout", FakeStream(terminal=terminal))
    assert logs.is_text(setting) is text


class FakeStream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def test_wrong_settings_are_told_in_json() -> None:
    """A process that cannot read its settings says so in a line like any other."""
    program = "from chassis.process import main\nmain('orders', None)\n"
    wrong = {**os.environ, "SHOP_LOG_FORMAT": "json", "SHOP_LOG_LEVEL": "loud"}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=wrong)
    assert (ended.returncode, ended.stderr) == (2, "")
    (line,) = (json.loads(line) for line in ended.stdout.splitlines())
    assert line["level"] == "critical"
    assert line["message"].startswith("SHOP_LOG_LEVEL is wrong: ")
    assert "exception" not in line
