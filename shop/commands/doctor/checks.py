"""The checks: each looks at one thing and reports its finding, its verdict, and the remedy."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shop.commands.doctor.ports import holder
from shop.errors import Refused
from shop.process_table import TABLE
from shop.supervisor import ports, state
from shop.urls import data_dir, elsewhere

_PYTHONS = ((3, 11), (3, 14))
_MIN_FILES = 1_024
# Some programs close every descriptor that they may have: with more than that it takes them seconds.
_MAX_FILES = 1 << 24
_MIN_MEMORY = 1 << 30
_MIN_DISK = 512 << 20
_GIB = 1 << 30
_DAEMONS = ("dockerd", "containerd")
_SOURCE = Path(__file__)


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` is empty where nothing is to be mended."""

    fine: bool
    what: str
    fix: str = ""


def examine(env: Mapping[str, str]) -> list[Finding]:
    """Every check, in the order in which its failure would be met."""
    setting = elsewhere(env)
    here = [] if setting else _ports(env)
    found = [python(sys.version_info[:2]), *here, files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])]
    found += [
        umask(_umask()),
        _processes_elsewhere(setting) if setting else disk(data_dir(env)),
        clock(time.time(), _SOURCE.stat().st_mtime),
    ]
    memory_now = _available_memory()
    return [*found, *([] if memory_now is None else [memory(memory_now)]), *_docker()]


def _processes_elsewhere(setting: str) -> Finding:
    """A container beside the shop: neither its ports nor its disk are the shop's."""
    return Finding(fine=True, what=f'the processes run elsewhere ({setting}): "shop status" checks them')


def python(version: tuple[int, ...]) -> Finding:
    """Python 3.11 to 3.14."""
    name = ".".join(map(str, version))
    if _PYTHONS[0] <= version <= _PYTHONS[1]:
        return Finding(fine=True, what=f"Python {name}")
    fix = "install Python 3.11 to 3.14 and name it: make up PYTHON=python3.13"
    return Finding(fine=False, what=f"Python {name} is not supported", fix=fix)


def files(limit: int) -> Finding:
    """The soft limit of open files, `ulimit -n`."""
    name = "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
    if limit == resource.RLIM_INFINITY or limit >= _MIN_FILES:
        return Finding(fine=True, what=f"open files (ulimit -n): {name}")
    return Finding(fine=False, what=f"open files (ulimit -n): {name}, too few", fix=f"ulimit -n {4 * _MIN_FILES}")


def umask(mask: int) -> Finding:
    """Containers run as another user, who must be able to read what a clone has made."""
    if not mask & 0o055:
        return Finding(fine=True, what=f"umask {mask:03o}")
    fix = "before docker compose: chmod -R a+rX deploy   (make up does not need it)"
    return Finding(fine=True, what=f"umask {mask:03o}: other users cannot read new files", fix=fix)


def memory(available: int) -> Finding:
    """Memory that processes may still have, in bytes."""
    what = f"memory available: {available / _GIB:.1f} GiB"
    if available >= _MIN_MEMORY:
        return Finding(fine=True, what=what)
    return Finding(fine=False, what=f"{what}, the shop takes 1 GiB", fix="end other programs, or: shop up --only …")


def disk(folder: Path) -> Finding:
    """Space where the state lives."""
    place = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(place).free
    what = f"disk, {free / _GIB:.1f} GiB free for {folder}"
    if not os.access(place, os.W_OK):
        return Finding(fine=False, what=f"{place} cannot be written", fix="choose another directory with SHOP_DATA_DIR")
    if free >= _MIN_DISK:
        return Finding(fine=True, what=what)
    return Finding(fine=False, what=what, fix="make room, or choose another directory with SHOP_DATA_DIR")


def clock(now: float, installed: float) -> Finding:
    """A clock that is behind makes every token and every webhook's signature invalid."""
    if now >= installed:
        return Finding(fine=True, what=f"clock: {time.strftime('%F %T', time.gmtime(now))} UTC")
    what = "the clock is behind: the shop's own files are from the future"
    return Finding(fine=False, what=what, fix="set it: sudo timedatectl set-ntp true")


def docker(limit: int) -> Finding:
    """The open files that containers get from Docker's daemon by default."""
    if limit <= _MAX_FILES:
        return Finding(fine=True, what=f"Docker's open files (nofile): {limit}")
    fix = (
        'in /etc/docker/daemon.json: {"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 65536, "Hard": 65536}}}'
    )
    return Finding(fine=True, what="Docker's open files (nofile) have no limit: containers may start slowly", fix=fix)


def _ports(env: Mapping[str, str]) -> Iterator[Finding]:
    """One line where all are free, or held by the shop of this directory; else one for each that is not."""
    host = env.get("SHOP_HOST") or "127.0.0.1"
    try:
        assigned = ports.assign(TABLE, env, host)
    except Refused as refusal:
        yield Finding(fine=False, what=str(refusal), fix="change the setting")
        return
    ours = {port for process in state.read(data_dir(env)) if process.pid for port in process.ports.values()}
    taken = [(spec, port) for spec in TABLE for port in spec.ports if ports.is_taken(host, assigned[port.setting])]
    foreign = [(spec, port) for spec, port in taken if assigned[port.setting] not in ours]
    for spec, port in foreign:
        number = assigned[port.setting]
        what = f"port {number} of {spec.name} is taken{holder(number)}"
        yield Finding(fine=False, what=what, fix=f"end that program, or choose another port with {port.setting}")
    if not foreign:
        used = f", {len(taken)} of them in use by the shop that runs here" if taken else ""
        yield Finding(fine=True, what=f"ports: {len(assigned)} checked{used}")


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _available_memory() -> int | None:
    """Available memory in bytes; None where the system has no such figure (macOS)."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except FileNotFoundError:
        return None
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def _docker() -> Iterator[Finding]:
    """The limit of Docker's own daemon, where it runs on this machine and may be looked at."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() not in _DAEMONS:
                continue
            lines = (comm.parent / "limits").read_text().splitlines()
        except OSError:  # it has ended meanwhile, or is another user's
            continue
        words = next(line for line in lines if line.startswith("Max open files")).split()
        yield docker(int(words[3]) if words[3].isdigit() else sys.maxsize)
        return
