"""Mutation tests of the promises: a patch that breaks the code must break exactly its promises, and within a minute."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shop.errors import Refused
from shop.fault.faults.ground import Ground
from shop.fault.scenarios.own_shop import own_shop
from shop.fault.scenarios.result import Result
from shop.fault.scenarios.runner import run
from shop.fault.scenarios.scenario import Scenario, of, suite

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).with_name("mutants")
RESULTS = FOLDER / "results.json"
MAX_LINES = 10
MAX_SECONDS = 60.0
_LEFT_OUT = shutil.ignore_patterns(".venv", ".git", ".shop", "build", ".*_cache", "__pycache__", "*.egg-info")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A patch, what it breaks, and the promises that must then be broken (`red`), or may be (`follows`)."""

    name: str
    says: str
    red: frozenset[str]
    follows: frozenset[str]
    scenario: Scenario

    @property
    def patch(self) -> Path:
        return FOLDER / f"{self.name}.patch"

    def caught(self, broken: frozenset[str]) -> bool:
        """Whether exactly its promises are broken."""
        return self.red <= broken <= self.red | self.follows


def mutants() -> dict[str, Mutant]:
    """All of them by name. Raises `Refused` for a scenario that there is not."""
    known, found = suite(), {}
    for name, table in tomllib.loads((FOLDER / "mutants.toml").read_text("utf-8")).items():
        given = table["scenario"]
        scenario = known[given] if isinstance(given, str) else of(f"mutant-{name}", given)
        found[name] = Mutant(
            name, table["says"], frozenset(table["red"]), frozenset(table.get("follows", ())), scenario
        )
    return found


def lines(patch: str) -> int:
    """Lines that a patch takes away or adds."""
    return sum(line[:1] in ("+", "-") and line[:3] not in ("+++", "---") for line in patch.splitlines())


def apply(patch: Path, tree: Path, *options: str) -> str:
    """Apply a patch to a tree that is no repository; empty, or what git says against it."""
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    command = ["git", "apply", *options, str(patch)]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


@contextmanager
def mutated(patch: Path) -> Iterator[Path]:
    """A copy of this tree with the patch. Raises `Refused` where it does not apply."""
    with tempfile.TemporaryDirectory(prefix="shop-mutant-", ignore_cleanup_errors=True) as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=_LEFT_OUT, symlinks=True)
        if refusal := apply(patch, tree):
            raise Refused(f"{patch.name} does not apply: {refusal}")
        yield tree


def trial(mutant: Mutant, env: Mapping[str, str], log: Path) -> tuple[Result, float]:
    """The scenario on a shop with the patch, and how many seconds it took from the shop's start on."""
    with mutated(mutant.patch) as tree, own_shop(env, log, tree) as own:
        began = time.monotonic()
        result = asyncio.run(run(mutant.scenario, Ground.of(own)))
        return result, time.monotonic() - began


def try_all(names: Sequence[str], env: Mapping[str, str], folder: Path, *, served: bool) -> int:
    """Try those named, or all; returns how many were not caught. Records the results in `RESULTS`."""
    known = mutants()
    if unknown := set(names) - known.keys():
        raise Refused(f"unknown mutants {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    told = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    survivors = 0
    for name in names or known:
        mutant = known[name]
        needed = bool({"rabbitmq", "postgresql"} & set(mutant.scenario.needs))
        if needed != served:
            continue
        try:
            result, seconds = trial(mutant, env, folder / f"mutant-{name}.log")
        except Refused as refusal:
            survivors += 1
            sys.stdout.write(f"LIVES  {name:<20} {refusal}\n")
            continue
        broken = frozenset(each.name for each in result.promises if not each.kept)
        caught = mutant.caught(broken) and all(bite.met for bite in result.bites) and seconds <= MAX_SECONDS
        survivors += not caught
        (folder / f"mutant-{name}.json").write_text(json.dumps(result.as_dict(), indent=1))
        told[name] = {"day": f"{datetime.now(UTC):%Y-%m-%d}", "caught": caught, "broken": sorted(broken)}
        sys.stdout.write(
            f"{'caught' if caught else 'LIVES':<6} {name:<20} {seconds:4.0f} s  {', '.join(sorted(broken))}\n"
        )
        if not caught:
            wanted = f"wanted: {', '.join(sorted(mutant.red))}"
            sys.stdout.write(f"{wanted}\n{result.as_text()}\n")
        sys.stdout.flush()
        RESULTS.write_text(json.dumps(dict(sorted(told.items())), indent=1) + "\n")
    return survivors
