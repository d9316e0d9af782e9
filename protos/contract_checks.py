"""Lint and breaking-change checks of the contracts, by buf (the development dependency `buf-bin`).

`buf.yaml` holds the rules; `contracts.binpb` is what callers rely on: a `FileDescriptorSet` made by `buf build`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent
ACCEPTED = ROOT / "contracts.binpb"
BUF = Path(sys.executable).with_name("buf")
_TIMEOUT = 120.0


def lint(root: Path = ROOT) -> list[str]:
    """One line for each undocumented or misnamed part of the contracts, by the rules of `buf.yaml`."""
    return _buf("lint", str(root))


def breaking(root: Path = ROOT, against: Path = ACCEPTED) -> list[str]:
    """One line for each thing that would break a caller of the contracts in `against`."""
    return _buf("breaking", str(root), "--against", str(against))


def unaccepted(root: Path = ROOT) -> bool:
    """Whether the contracts hold anything that no check protects yet."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / ACCEPTED.name
        refused = build(built, root)
        return bool(refused) or built.read_bytes() != ACCEPTED.read_bytes()


def build(target: Path = ACCEPTED, root: Path = ROOT) -> list[str]:
    """Write the contracts without their comments; what the compiler refuses is returned instead."""
    return _buf("build", str(root), "--exclude-source-info", "--as-file-descriptor-set", "--output", str(target))


def _buf(*arguments: str) -> list[str]:
    done = subprocess.run(  # noqa: S603  # nosec B603 # our own arguments
        [str(BUF), *arguments], capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
    printed = (done.stdout + done.stderr).splitlines()
    return (
        printed if printed or done.returncode == 0 else [f"buf {arguments[0]} ended with exit code {done.returncode}"]
    )
