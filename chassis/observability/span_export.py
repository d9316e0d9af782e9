"""Spans and log lines to an OpenTelemetry collector (OTLP over HTTP, protobuf), without keeping the event loop waiting.

The SDK's own batches are encoded in a thread, 30 us a span in pure Python. Meanwhile the event loop waits for the
interpreter, and with it every request in flight: at 300 spans a second that was a third of the p99. Here each span is
encoded when it ends, in 22 us, and all that is left to the thread is to join the pieces and to send them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan

from chassis.observability import otlp

log = logging.getLogger(__name__)

# Seconds for which spans are gathered (the SDK's own: five). An export costs both ends as much as several dozen spans.
_FLUSH_INTERVAL = 2.0
# Where a person watches an order's hops as they come, and after so many exports in a row with hardly a pause: a busy
# shop's are too many to be watched.
_LIVE_FLUSH_INTERVAL = 0.1
_BUSY_FLUSH_INTERVAL = 1.0
_MAX_LIVE = 10
_TIMEOUT = 2.0
# Spans that wait while the collector is away, and bytes of what waits; of more, the oldest are forgotten.
_MAX_WAITING = 4_096
_MAX_WAITING_BYTES = 8 << 20
# Open spans that are sent at once.
_MAX_BEGUN = 256


def flush_interval(live: bool, in_a_row: int) -> float:
    """Seconds for which spans are gathered, after so many exports in a row."""
    if not live:
        return _FLUSH_INTERVAL
    return _LIVE_FLUSH_INTERVAL if in_a_row < _MAX_LIVE else _BUSY_FLUSH_INTERVAL


class OtlpExport:
    """Sends messages to a collector, from a thread of its own that sleeps while there is nothing to send.

    What could not be sent is tried again with the next batch: a collector may come up later than we do.
    """

    def __init__(
        self,
        service: str,
        url: str,
        what: str,
        flush_interval: Callable[[int], float],
        *,
        most: int,
        begun: Callable[[], list[bytes]] = list,
    ) -> None:
        """`what` is what a message is called in our own log; `flush_interval`: seconds for which they are gathered.

        Of more than `most` that wait, the oldest are forgotten; `begun` has what is sent at once or never.
        """
        self._service = service
        self._what = what
        self._flush_interval = flush_interval
        self._most = most
        self._take_begun = begun
        self._collector = _Collector(url)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._counting = threading.Lock()
        self._something = threading.Event()
        self._closing = threading.Event()
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"{what}s", daemon=True)
        self._thread.start()

    def add(self, message: bytes) -> None:
        with self._counting:
            self._waiting.append(message)
            self._waiting_bytes += len(message)
            self._bound()
        if not self._something.is_set():
            self._something.set()

    def wake(self) -> None:
        """Send what `begun` has."""
        self._something.set()

    def close(self) -> None:
        """Send what is left, and stop. Takes as long as sending may."""
        self._closing.set()
        self._something.set()
        self._thread.join()
        self._collector.close()

    def _run(self) -> None:
        in_a_row = 0
        while not self._closing.is_set():
            idle_since = time.monotonic()
            self._something.wait()
            in_a_row = in_a_row + 1 if time.monotonic() - idle_since < _LIVE_FLUSH_INTERVAL else 0
            self._closing.wait(self._flush_interval(in_a_row))
            self._something.clear()
            if not self._send():
                self._something.set()
        self._send()

    def _take(self) -> list[bytes]:
        """The oldest of what waits, as much as goes into one export."""
        batch: list[bytes] = []
        size = 0
        with self._counting:
            while self._waiting and (not batch or size + len(self._waiting[0]) <= otlp.EXPORT_BYTES):
                batch.append(self._waiting.popleft())
                size += len(batch[-1])
            self._waiting_bytes -= size
        return batch

    def _put_back(self, batch: list[bytes]) -> None:
        with self._counting:
            self._waiting.extendleft(reversed(batch))
            self._waiting_bytes += sum(map(len, batch))
            self._bound()

    def _bound(self) -> None:
        """Forget the oldest of what is too much."""
        while len(self._waiting) > self._most or self._waiting_bytes > _MAX_WAITING_BYTES:
            self._waiting_bytes -= len(self._waiting.popleft())

    def _send(self) -> bool:
        """Send what waits, the oldest first, in as many exports as it takes; False when one may be tried again."""
        with self._sending:
            # What has begun is news for a moment only: it is not tried again.
            if (begun := self._take_begun()) and not self._export(begun):
                return False
            while batch := self._take():
                if not self._export(batch):
                    self._put_back(batch)
                    return False
            return True

    def _export(self, batch: list[bytes]) -> bool:
        """Whether a batch is done with: taken, or refused for good."""
        try:
            status = self._collector.take(otlp.request(self._service, batch))
        except (OSError, HTTPException) as error:
            log.debug("%s export failed", self._what, extra={f"{self._what}s": len(batch), "reason": str(error)})
            return False
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            log.debug("%s export refused", self._what, extra={f"{self._what}s": len(batch), "status": status})
        return status not in otlp.COME_BACK


class OtlpSpans(SpanProcessor):
    """Sends what ends to `{url}/v1/traces`."""

    def __init__(self, service: str, url: str, *, live: bool = False) -> None:
        """`live`: gather for a moment only, and send spans that have not ended yet, too, without an end."""
        # Open spans that have not been sent yet.
        self._begun: dict[int, SdkSpan] | None = {} if live else None
        path, interval = f"{url.rstrip('/')}/v1/traces", partial(flush_interval, live)
        self._export = OtlpExport(service, path, "span", interval, most=_MAX_WAITING, begun=self._take_begun)

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's
        if self._begun is not None and len(self._begun) < _MAX_BEGUN:
            self._begun[span.get_span_context().span_id] = span
            self._export.wake()

    def on_end(self, span: ReadableSpan) -> None:
        if self._begun is not None and span.context is not None:
            self._begun.pop(span.context.span_id, None)
        self._export.add(otlp.encoded(span))

    def shutdown(self) -> None:
        """Send what is left, and stop. Takes as long as sending may."""
        self._export.close()

    def _take_begun(self) -> list[bytes]:
        """Take the spans that have begun and not ended, once each.

        One may end meanwhile: then that is sent too, with this or later, and is what counts.
        """
        if not self._begun:
            return []
        return [
            otlp.encoded(span) for span in [self._begun.pop(span_id, None) for span_id in list(self._begun)] if span
        ]


class _Collector:
    """A collector, over a connection that is kept: making one anew for each export cost it more than the spans did."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.netloc, timeout=_TIMEOUT)
        self._path = parts.path

    def take(self, request: bytes) -> int:
        """The status of the answer. Raises `OSError` or `HTTPException`."""
        kept = self._connection.sock is not None
        try:
            return self._post(request)
        except (ConnectionError, HTTPException):
            if not kept:
                raise
        return self._post(request)  # the connection had been closed at the other end meanwhile

    def _post(self, request: bytes) -> int:
        try:
            self._connection.request("POST", self._path, request, {"Content-Type": "application/x-protobuf"})
            response = self._connection.getresponse()
            response.read()
        except BaseException:
            self._connection.close()
            raise
        return response.status

    def close(self) -> None:
        self._connection.close()
