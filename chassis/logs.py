"""Logging to standard output: a readable line for people or a JSON line for machines, both with the trace's id."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

import orjson

from chassis.telemetry import current_trace_id

# Everything that a log record has anyway; what is left was passed as `extra`.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(process: str, *, log_format: str, level: str) -> None:
    """Send all logging of this process to standard output. Called once, by `chassis.process.main`."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(process) if log_format == "json" else TextFormatter(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # They tell at INFO what our own lines tell already.
    for chatty in (
        "httpx",
        "aiormq",
        "aio_pika",
        "uvicorn.error",
        "alembic",
        "aiosqlite",
        "spyne",
        "mail.log",
        "tzlocal",
    ):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # A console that is not there yet would be reported by every process at every export.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


def extras(record: logging.LogRecord) -> dict[str, object]:
    """What was passed as `extra`, and the id of the trace that the line belongs to."""
    found = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
    trace_id = current_trace_id()
    if trace_id:
        found["trace_id"] = trace_id
    return found


class TextFormatter(logging.Formatter):
    """`12:34:56.789 INFO  orders         order placed order_id=…`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        facts = "".join(f" {key}={value}" for key, value in extras(record).items())
        line = f"{time} {record.levelname:<7} {self.process:<16} {record.getMessage()}{facts}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self.process,
            "message": record.getMessage(),
            **extras(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # an integer over 64 bits or a lone surrogate: slower, but no line is lost
            return json.dumps(line, default=str)
