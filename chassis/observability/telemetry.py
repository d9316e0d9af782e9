"""The telemetry of a process: traces, and where it shows its metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from chassis.observability.tracing import Telemetry

if TYPE_CHECKING:
    from chassis.observability.capture.capture import Capture
    from chassis.observability.metrics import Metrics


@asynccontextmanager
async def telemetry(
    service: str,
    otlp_url: str,
    *,
    sample_ratio: float = 1.0,
    metrics_at: tuple[str, int] | None = None,
    capture: bool = False,
) -> AsyncIterator[Telemetry]:
    """The telemetry of a process: spans go over OTLP/HTTP to `otlp_url` (nowhere when empty).

    Metrics are shown at a host's port, where `metrics_at` names one. Raises `OSError` when that is taken. With
    `capture`, spans hold the messages that crossed their boundary, and open spans are sent, too.
    """
    async with AsyncExitStack() as stack:
        metrics: Metrics | None = None
        if metrics_at is not None:
            # Imported here: a process without metrics does not pay for them.
            from chassis.observability.metrics_endpoint import showing_metrics

            metrics = await stack.enter_async_context(showing_metrics(*metrics_at))
        capturing: Capture | None = None
        if capture and otlp_url:
            # Imported here, as above.
            from chassis.observability.capture.capture import Capture

            capturing = Capture()
        process = Telemetry(service, sample_ratio=sample_ratio, metrics=metrics, capture=capturing)
        if otlp_url:
            # Imported here, as above.
            from chassis.observability.span_export import OtlpSpans

            process.record(OtlpSpans(service, otlp_url, live=capture))
        if capturing is not None:
            from chassis.observability.log_export import OtlpLogs

            lines = OtlpLogs(service, otlp_url)
            logging.getLogger().addHandler(lines)
            stack.push_async_callback(asyncio.to_thread, lines.close)
            stack.callback(logging.getLogger().removeHandler, lines)
        stack.push_async_callback(asyncio.to_thread, process.close)
        yield process
