"""Log lines on standard output: text for people, or a JSON object a line, as log collectors read them.

The ERP is another company's program, so it has its own; the members are named as the shop's processes name theirs.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime


def log_to_stdout(log_format: str) -> None:
    """Send all logging of this process, warnings and uncaught errors included, there in one format: text or json.

    Empty: text in a terminal, else JSON.
    """
    handler = logging.StreamHandler(sys.stdout)
    if log_format == "json" or not (log_format or sys.stdout.isatty()):
        handler.setFormatter(_JsonLines())
        # Python's own would be text, on standard error: where containers run, that is the same stream.
        sys.excepthook = lambda kind, error, trace: logging.getLogger("legacy_soap").critical(
            "process ended by an error: %s", error, exc_info=(kind, error, trace)
        )
        threading.excepthook = lambda ended: logging.getLogger("legacy_soap").critical(
            "thread ended by an error: %s", ended.exc_value, exc_info=ended.exc_value
        )
        sys.unraisablehook = lambda failed: logging.getLogger("legacy_soap").error(
            "ignored error: %s", failed.exc_value, exc_info=failed.exc_value
        )
    else:
        line = "%(asctime)s.%(msecs)03d %(levelname)-7s legacy_soap      %(message)s"
        handler.setFormatter(logging.Formatter(line, datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": "legacy_soap",
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
