"""Leases of a consumer group's partitions: which member gets which, and when one has ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Lease:
    partition: int
    owner: str
    until: datetime


def share(leases: Sequence[Lease], me: str, members: int, now: datetime) -> tuple[list[int], list[int]]:
    """The partitions to claim and those to give up, so that `members` copies end with equally many, give or take one.

    A partition stays where it is unless its owner has too many or has let its lease end.
    """
    held = {lease.partition: lease.owner for lease in leases if lease.owner and lease.until >= now}
    counts = Counter(held.values())
    fewest, most = len(leases) // members, -(-len(leases) // members)
    mine = sorted(partition for partition, owner in held.items() if owner == me)
    free = sorted({lease.partition for lease in leases} - held.keys())
    # A copy with too few waits for another's surplus, unless what is free is enough for it.
    hungry = len(counts.keys() | {me}) < members or any(count < fewest for count in counts.values())
    keep = fewest if hungry and not free and fewest else most
    return free[: max(0, most - len(mine))], mine[keep:]


class Unchanged:
    """Ages of stamps in the database: how long each is unchanged, by this process's monotonic clock.

    A stamp that is renewed changes. The time that it says may be wrong: written by a clock that was ahead, it says for
    hours that its owner, who died, is alive.
    """

    def __init__(self, timeout: float, *, steady: Callable[[], float] = time.monotonic) -> None:
        """`timeout`: the seconds after which a stamp that has not changed has ended."""
        self._timeout = timeout
        self._steady = steady
        self._seen: dict[Hashable, tuple[object, float]] = {}

    def __call__(self, name: Hashable, stamp: object) -> bool:
        """Whether the stamp of this name has been the same for that long, as far as it was shown here."""
        before, since = self._seen.get(name, (None, 0.0))
        if before != stamp:
            self._seen[name] = stamp, self._steady()
            return False
        if self._steady() - since < self._timeout:
            return False
        del self._seen[name]
        return True
