"""Peak memory of processes from a moment on: the system's own mark of each, which it can forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that some processes held when their peaks began to count; nothing where there is no /proc."""

    pids: Sequence[int]
    bytes: Sequence[int]

    def growth(self) -> list[int] | None:
        """The bytes by which the peak of each since then is above what it held; None where there is no /proc."""
        if not self.bytes:
            return None
        return [max(0, _status(pid, "VmHWM") - held) for pid, held in zip(self.pids, self.bytes, strict=True)]


def forget_peaks(pids: Sequence[int]) -> Held:
    """Let the system forget each process's peak memory: it counts from now on. Linux only."""
    if not CLEAR_REFS.exists():
        return Held(pids, ())
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return Held(pids, [_status(pid, "VmRSS") for pid in pids])


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))
