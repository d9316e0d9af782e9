"""Logging to standard output: a readable line for people or a JSON line for machines, both with the trace's id."""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

import orjson

from chassis.observability import access_log
from chassis.observability.tracing import current_trace_id

# Everything that a log record has anyway; what is left was passed as `extra`.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(process: str, *, log_format: str, level: str = "") -> None:
    """Send all logging of this process to standard output. Called by `chassis.process.run_process`.

    `log_format`: text or json; empty: text in a terminal, else JSON. Access lines have the same format. `level`: the
    least severe lines that are written; empty leaves that as it is.
    """
    as_text = is_text(log_format)
    access_log.configure(as_text=as_text)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter(process) if as_text else JsonFormatter(process))
    logging.basicConfig(handlers=[handler], force=True)
    if level:
        _set_level(logging.getLogger(), level.upper())
    logging.captureWarnings(capture=True)
    if not as_text:
        # Python's own would be text, on standard error: where containers run, that is the same stream.
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_thread
        sys.unraisablehook = _log_unraisable
    # They log at INFO what our own lines have already.
    for chatty in (
        "httpx",
        "httpcore",
        "aiormq",
        "aio_pika",
        "uvicorn.error",
        "alembic",
        "aiosqlite",
        "spyne",
        "mail.log",
        "tzlocal",
    ):
        _set_level(logging.getLogger(chatty), "WARNING")
    # A console that is not there yet would be reported by every process at every export.
    _set_level(logging.getLogger("opentelemetry"), "CRITICAL")


def _set_level(logger: logging.Logger, level: str) -> None:
    """Set a level that is another one: each time Python writes to all loggers there are.

    In a forked process, which has the supervisor's levels, that would copy 1.4 MB of pages that it shares.
    """
    if logging.getLevelName(logger.level) != level:
        logger.setLevel(level)


def is_text(log_format: str) -> bool:
    """Whether this setting selects text."""
    return log_format == "text" or (not log_format and sys.stdout.isatty())


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger(__name__).critical("process ended by an error: %s", error, exc_info=(kind, error, trace))


def _log_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is SystemExit:
        return  # as Python's own
    name = ended.thread.name if ended.thread else "?"
    cause = ended.exc_value or ended.exc_type()
    facts = (ended.exc_type, cause, ended.exc_traceback)
    logging.getLogger(__name__).critical("thread %s ended by an error: %s", name, cause, exc_info=facts)


def _log_unraisable(failed: sys.UnraisableHookArgs) -> None:
    """An error that cannot be caught: in a finalizer."""
    cause = failed.exc_value or failed.exc_type()
    facts = (failed.exc_type, cause, failed.exc_traceback)
    logging.getLogger(__name__).error("%s: %s", failed.err_msg or "ignored error", cause, exc_info=facts)


def extras(record: logging.LogRecord) -> dict[str, object]:
    """The `extra` fields of a log record, and its trace id."""
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
