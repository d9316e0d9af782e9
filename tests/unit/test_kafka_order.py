"""Records of several partitions, put in one order."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import ConsumerRecord

from chassis.broker.kafka.reader import _merged


def record(partition: int, offset: int, at: int) -> ConsumerRecord[bytes, bytes]:
    found: Any = ConsumerRecord
    return found("t", partition, offset, at, 0, None, None, None, 0, 0, ())


def batch(partition: int, *times: int) -> list[ConsumerRecord[bytes, bytes]]:
    return [record(partition, offset, at) for offset, at in enumerate(times)]


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([], []),
        ([batch(0, 1, 2)], [(0, 0), (0, 1)]),
        ([batch(0, 1, 4), batch(1, 2, 3)], [(0, 0), (1, 0), (1, 1), (0, 1)]),
        # A clock that was set back: the second record of partition 0 counts as no older than its first.
        ([batch(0, 5, 1, 6), batch(1, 2, 7)], [(1, 0), (0, 0), (0, 1), (0, 2), (1, 1)]),
    ],
)
def test_records_come_as_they_were_appended_and_each_partition_in_its_order(
    batches: list[list[ConsumerRecord[bytes, bytes]]], expected: list[tuple[int, int]]
) -> None:
    """Between partitions the time decides, within one the offset, whatever the clocks of the writers did."""
    assert [(each.partition, each.offset) for each in _merged(batches)] == expected
