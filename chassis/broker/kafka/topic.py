"""The topic: created where it is missing, and its number of partitions."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chassis.broker.cloudevents import MAX_DATA_BYTES
from chassis.broker.kafka.address import Address
from chassis.broker.kafka.closing import closed
from chassis.broker.kafka.failures import translated
from chassis.broker.port import BrokerUnavailable
from chassis.broker.retention import Retention

logger = logging.getLogger(__name__)

# Data of the largest event, and its attributes.
MAX_MESSAGE_BYTES = MAX_DATA_BYTES + (64 << 10)
# Seconds for which a number of partitions is taken to be right: readers notice new ones that soon.
REFRESH_SECONDS = 1.0
OPEN_TIMEOUT = 10.0
HEALTH_TIMEOUT = 2.0
_PAUSE = 0.05
_UNKNOWN, _EXISTS = 3, 36


class Topic:
    """One topic as its readers and its writer see it, over one connection of its own."""

    def __init__(self, address: Address, retention: Retention) -> None:
        self._address = address
        self._retention = retention
        self._admin: AIOKafkaAdminClient | None = None
        self._opening = asyncio.Lock()
        self._there = address.declared
        self._partitions = 0
        self._read_at = -REFRESH_SECONDS

    async def partitions(self, *, at_least: int = 1) -> int:
        """The number of partitions; read again when fewer were found before, or after a second.

        Raises `BrokerUnavailable`.
        """
        if self._partitions < at_least or time.monotonic() - self._read_at >= REFRESH_SECONDS:
            async with self._opening:
                with translated():
                    async with asyncio.timeout(OPEN_TIMEOUT):
                        try:
                            self._partitions = await self._count(await self._client())
                        except BaseException:
                            await self.close()
                            raise
                self._read_at = time.monotonic()
        return self._partitions

    async def healthy(self) -> bool:
        """Whether a broker answers now."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT), self._opening:
                with translated():
                    await (await self._client()).describe_cluster()
        except (BrokerUnavailable, TimeoutError):
            await self.close()
            return False
        return True

    async def close(self) -> None:
        """Give the connection up."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await closed(admin.close)

    async def _client(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            admin = AIOKafkaAdminClient(**self._address.client())
            try:
                await admin.start()
            except BaseException:
                await closed(admin.close)
                raise
            self._admin = admin
        if not self._there:
            await self._create(self._admin)
            self._there = True
        return self._admin

    async def _create(self, admin: AIOKafkaAdminClient) -> None:
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = max(1, min(self._address.replicas, brokers))
        partitions = self._address.partitions
        config = configuration(self._retention, partitions, replicas)
        answer = await admin.create_topics(
            [NewTopic(self._address.topic, partitions, replicas, topic_configs=config)],
            timeout_ms=int(OPEN_TIMEOUT * 1000),
        )
        for name, code, *message in answer.topic_errors:
            if code not in (0, _EXISTS):
                raise BrokerUnavailable(f"topic {name} cannot be created: error {code} {message[0] if message else ''}")
            if code == 0:
                logger.info("topic created", extra={"topic": name, "partitions": partitions, "replicas": replicas})

    async def _count(self, admin: AIOKafkaAdminClient) -> int:
        """The number of partitions, once each has a leader."""
        while True:
            (topic,) = await admin.describe_topics([self._address.topic])
            partitions = topic["partitions"]
            if topic["error_code"] == _UNKNOWN and not self._address.declared:
                await self._create(admin)  # it was there, and was deleted
            elif topic["error_code"] == 0 and partitions and all(each["leader"] >= 0 for each in partitions):
                return len(partitions)
            await asyncio.sleep(_PAUSE)


def configuration(retention: Retention, partitions: int, replicas: int) -> dict[str, str]:
    """The topic's configuration: the log's retention, spread over its partitions, and the largest event."""
    return {
        "retention.ms": str(retention.age // timedelta(milliseconds=1)),
        "retention.bytes": str(max(1, retention.size // partitions)),
        "segment.bytes": str(retention.segment),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        # One replica may be away without stopping writers.
        "min.insync.replicas": str(max(1, replicas - 1)),
    }
