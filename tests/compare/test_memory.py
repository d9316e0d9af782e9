"""A transfer's peak is its own, whatever its process had held before."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("hdrh", reason="not run: needs hdrhistogram, of the development environment")

from bench.compare.measure.memory import CLEAR_REFS, forget_peaks
from bench.compare.measure.workers import worker

MIB = 1 << 20


class Holder:
    """What runs in a worker here: it takes memory and gives it back at once."""

    async def take(self, size: int) -> None:
        assert len(b"x" * size) == size


@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="not run: needs Linux's /proc")
@pytest.mark.timeout(120)
async def test_a_peak_counts_from_the_transfer_on() -> None:
    """A process that took 50 MiB, gave them back, and takes 20 MiB in the transfer has grown by 20 MiB."""
    async with worker(f"{__name__}:Holder") as running:
        await running.call("take", size=50 * MIB)
        held = forget_peaks([running.pid])
        await running.call("take", size=20 * MIB)
        growth = held.growth()
    assert growth is not None
    assert 19 * MIB <= growth[0] <= 25 * MIB


def test_where_the_system_has_no_peaks_there_is_no_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Linux's /proc a transfer's growth is not known, rather than 0."""
    monkeypatch.setattr("bench.compare.measure.memory.CLEAR_REFS", tmp_path / "clear_refs")
    assert forget_peaks([1]).growth() is None
