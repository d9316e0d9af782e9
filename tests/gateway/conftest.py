from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.observability.tracing import Telemetry
from chassis.resilience.deadlines import CircuitBreaker
from tests.gateway.fakes import Shop, running_shop

StartShop = Callable[..., AbstractAsyncContextManager[Shop]]


@pytest.fixture
def exported() -> InMemorySpanExporter:
    """The gateway's spans, once its telemetry has been closed."""
    return InMemorySpanExporter()


@pytest.fixture
def spans(exported: InMemorySpanExporter) -> Iterator[Telemetry]:
    telemetry = Telemetry("gateway", exported)
    yield telemetry
    telemetry.close()


@pytest.fixture
def start_shop(tmp_path: Path, spans: Telemetry) -> StartShop:
    """Starts a gateway with other settings than the default."""

    def start(**settings: Any) -> AbstractAsyncContextManager[Shop]:
        return running_shop(tmp_path, spans, **settings)

    return start


@pytest.fixture
async def shop(start_shop: StartShop) -> AsyncIterator[Shop]:
    async with start_shop() as running:
        yield running


@pytest.fixture
def breakers_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A breaker that has opened lets no trial call through, however long a busy machine takes to make the next one."""
    defaults = {**(CircuitBreaker.__init__.__kwdefaults__ or {}), "recovery": 60.0}
    monkeypatch.setattr(CircuitBreaker.__init__, "__kwdefaults__", defaults)
