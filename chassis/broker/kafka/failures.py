"""Failures of a lost or silent Kafka, as the port's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError

from chassis.broker.port import BrokerUnavailable


@contextmanager
def translated() -> Iterator[None]:
    """Make every failure of the library a `BrokerUnavailable`."""
    try:
        yield
    except (KafkaError, TimeoutError, OSError) as error:
        raise BrokerUnavailable(f"{type(error).__name__}: {error}".removesuffix(": ")) from error
