"""The access log: one line for each request on standard output, in the format of the process's other lines.

Not through `logging`: a record, a formatter and a write for each request cost 50 us, a line that is written together
with its neighbours 3. Lines for people are written at once, so that they stand among the others in the order of time.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime

import orjson

# Seconds for which lines are gathered, and bytes after which they are not.
_FLUSH_INTERVAL = 0.1
_MAX_BYTES = 64 << 10

_level = logging.getLogger("access")
_waiting: list[bytes] = []
_waiting_bytes = 0
_as_text = False


def configure(*, as_text: bool) -> None:
    """Choose the format: text for people, or a JSON object a line."""
    global _as_text  # noqa: PLW0603  # one standard output, one format
    _as_text = as_text


def enabled() -> bool:
    """Whether requests are logged: at the level "info" and below."""
    return _level.isEnabledFor(logging.INFO)


def write(*, process: str, message: str, status: int, ms: float, bytes: int, trace_id: str, **more: object) -> None:  # noqa: A002
    """Log a request; the line leaves within a tenth of a second. Needs a running event loop.

    `more` is for machines: the caller, and the request's id.
    """
    global _waiting_bytes  # noqa: PLW0603  # one standard output, one buffer
    if _as_text:
        # As `logs.TextFormatter` writes it.
        time = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
        _write(f"{time} INFO    {process:<16} {message} {status} {ms} ms {bytes} B trace_id={trace_id}\n")
        return
    facts = {
        "time": datetime.now(UTC),
        "level": "info",
        "process": process,
        "message": message,
        "status": status,
        "ms": ms,
        "bytes": bytes,
        **more,
        "trace_id": trace_id,
    }
    line = orjson.dumps(facts, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
    if not _waiting:
        asyncio.get_running_loop().call_later(_FLUSH_INTERVAL, flush)
    _waiting.append(line)
    _waiting_bytes += len(line)
    if _waiting_bytes > _MAX_BYTES:
        flush()


def flush() -> None:
    """Write what waits. Called at the end of a server, too."""
    global _waiting_bytes  # noqa: PLW0603
    if _waiting:
        lines = b"".join(_waiting).decode()
        _waiting.clear()
        _waiting_bytes = 0
        _write(lines)


def _write(lines: str) -> None:
    try:
        sys.stdout.write(lines)
        sys.stdout.flush()
    except OSError as error:
        # A disk that is full, or a reader that is gone: no request fails for want of its line.
        logging.getLogger(__name__).warning("access log: lines could not be written", extra={"reason": str(error)})
