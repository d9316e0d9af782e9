"""`shop compare`: runs experiments, keeps everything in a folder, and draws tables and pictures from its files."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from shop.errors import Refused
from shop.started_shop import unwound_by_signals

EXPERIMENTS = {
    "E1": "e1_read",
    "E2": "e2_rate",
    "E3": "e3_distance",
    "E4": "e4_shape",
    "E5": "e5_news",
    "E6": "e6_bulk",
    "E7": "e7_later",
    "E8": "e8_failure",
    "E9": "e9_people",
}
# Those that measure the shop, too.
_SHOP = {"E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8"}
# A client serves one experiment at a time, and what is counted does not depend on what else the machine does.
_TOGETHER = (("E2", "E3", "E5", "E7"), ("E4", "E6", "E8", "E9"))
DEFAULT_FOLDER = Path("bench/results/compare")
_NEEDED = {"hdrh": "hdrhistogram", "connectrpc": "connectrpc", "hypercorn": "hypercorn"}


def compare(
    names: Sequence[str], *, quick: bool, lie: bool, bare: bool, folder: Path | None, draw_only: Path | None
) -> int:
    """Run the experiments with these names ("all", or none: every one). Raises `Refused`.

    `lie`: repeat the public mistakes, after the experiments or, where none is named, alone.

    Exit code 0: done; 1: an experiment could not be carried out, which is printed.
    """
    if missing := [package for module, package in _NEEDED.items() if find_spec(module) is None]:
        raise Refused(
            f"compare needs the development environment; missing: {', '.join(missing)}. Install it with "
            '"make setup-dev", or: pip install -e ".[dev]"'
        )
    if draw_only is not None:
        return _draw(draw_only, folder or draw_only)
    chosen = [*(_chosen(names) if names or not lie else []), *(["lie"] if lie else [])]
    if "E1" in chosen:
        _refuse_far_broker()
    folder = folder or DEFAULT_FOLDER / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
    if folder.exists() and any(folder.iterdir()):
        raise Refused(f"{folder} is not empty; name another folder with --out")
    with unwound_by_signals():
        failed = asyncio.run(_run(chosen, quick=quick, bare=bare, folder=folder))
    return _draw(folder, folder) or (1 if failed else 0)


def _chosen(names: Sequence[str]) -> list[str]:
    wanted = [name.upper() for name in names] or ["ALL"]
    if unknown := [name for name in wanted if name not in (*EXPERIMENTS, "ALL")]:
        raise Refused(f"unknown experiment {', '.join(unknown)}; there are: {', '.join(EXPERIMENTS)}, all")
    return [name for name in EXPERIMENTS if "ALL" in wanted or name in wanted]


def _refuse_far_broker() -> None:
    from bench.compare.variants import rabbitmq

    rabbitmq(os.environ)


async def _run(chosen: Sequence[str], *, quick: bool, bare: bool, folder: Path) -> list[str]:
    from bench.compare.bench import Bench
    from bench.compare.experiments.shop.trusted_gateway import start_trusted_gateway
    from bench.compare.measure.folder import Folder

    kept = Folder(folder)
    kept.begin(["shop", *sys.argv[1:]], {"experiments": list(chosen), "quick": quick, "bare": bare})
    failed: list[str] = []
    async with AsyncExitStack() as stack:
        bench = Bench(kept, stack, quick=quick, bare=bare)
        bench.say(f"keeping everything in {folder}")
        if quick and not bare and _SHOP & set(chosen):
            bench.start_shop()
        if quick and not bare and {"E1", "E2"} & set(chosen):
            bench.begin(start_trusted_gateway)

        async def carried_out(name: str) -> None:
            try:
                await _experiment(name)(bench)
                kept.complete(name)
            except Exception as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise  # Ctrl-C: what failed is what was being stopped
                failed.append(name)
                bench.say(f"{name} FAILED: {type(error).__name__}: {error}")

        for names in turns(chosen, quick=quick):
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(carried_out(name))
        bench.say("stopping")
    return failed


def turns(chosen: Sequence[str], *, quick: bool) -> list[list[str]]:
    """Each experiment alone; in a quick run, whose figures are for tests only, some share the time that they wait."""
    left, found = list(chosen), []
    while left:
        together = next((names for names in _TOGETHER if quick and left[0] in names), left[:1])
        found.append([name for name in left if name in together])
        left = [name for name in left if name not in together]
    return found


def _experiment(name: str) -> Callable[..., Awaitable[None]]:
    run: Callable[..., Awaitable[None]] = import_module(f"bench.compare.experiments.{EXPERIMENTS.get(name, name)}").run
    return run


def _draw(folder: Path, to: Path) -> int:
    from bench.compare.measure.folder import RESULTS
    from bench.compare.report.draw import draw

    if not (folder / RESULTS).is_file():
        raise Refused(f"{folder} holds no {RESULTS}: nothing was measured there")
    for path in draw(folder, to):
        sys.stdout.write(f"{path}\n")
    return 0
