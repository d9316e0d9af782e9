"""`make mutation`: small changes in modules that only decide, each of which the module's unit tests have to notice.

mutmut makes them (an operator, a constant, a call's argument), in a copy of the tree under `build/mutation`, and runs
the tests in forks of one process. A mutant that survives is named in `survivors.toml` with the reason, or it is a
failure; so is a line there that survives no more. Exit code 0: none survives unnamed; 1: one does; 2: refused.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "mutation"
MODULES = Path(__file__).with_name("modules.toml")
SURVIVORS = Path(__file__).with_name("survivors.toml")
_TESTS_OWN = ("tests", "docs", "deploy", "lessons", "bench", "tools")
_KILLED = ("killed", "timeout", "caught by type check")
_NUMBERED = re.compile(r"__mutmut_\d+$")
_SHOW = """
import json, sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
print(json.dumps([get_diff_for_mutant(name, path=sys.argv[1]) for name in sys.argv[2:]]))
"""
_CONFIG = """
[tool.mutmut]
source_paths = {packages}
only_mutate = ["{module}"]
also_copy = {also}
pytest_add_cli_args = ["-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests}
mutate_only_covered_lines = false
track_dependencies = false
use_git_change_detection = false
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A module, the functions of it that are mutated (none: all), and the tests that judge."""

    name: str
    module: str
    tests: tuple[str, ...]
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Survivor:
    """A change that no test noticed: the function, the line as it was and as it is."""

    function: str
    was: str
    now: str


def targets() -> dict[str, Target]:
    """What is mutated, by name."""
    tables = tomllib.loads(MODULES.read_text("utf-8"))
    return {
        name: Target(name, table["module"], tuple(table["tests"]), tuple(table.get("only", ())))
        for name, table in tables.items()
    }


def accepted() -> Mapping[Survivor, str]:
    """Survivors that are known, and why each changes nothing that a test should notice."""
    listed = tomllib.loads(SURVIVORS.read_text("utf-8")).get("survivor", [])
    return {Survivor(each["function"], each["was"], each["now"]): each["because"] for each in listed}


def prepare(target: Target) -> Path:
    """A folder for mutmut, which copies from the links there what it mutates and runs."""
    folder = WORK / target.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    packages = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in _TESTS_OWN)
    also = [name for name in _TESTS_OWN if (ROOT / name).exists()]
    for name in (*packages, *also):
        (folder / name).symlink_to(ROOT / name)
    config = _CONFIG.format(packages=packages, module=target.module, also=also, tests=list(target.tests))
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8") + config, "utf-8")
    return folder


def run(target: Target) -> tuple[int, list[Survivor]]:
    """How many mutants there were, and those that no test noticed. Raises `RuntimeError` where mutmut itself fails."""
    folder = prepare(target)
    module = target.module.removesuffix(".py").replace("/", ".")
    patterns = [f"{module}.x_{function}__mutmut_*" for function in target.only]
    _mutmut(folder, "run", *patterns)
    states = re.findall(r"^ +(\S+): (.+)$", _mutmut(folder, "results", "--all", "true"), re.MULTILINE)
    tried = [(name, state) for name, state in states if state != "not checked"]
    return len(tried), _survivors(folder, target.module, [name for name, state in tried if state not in _KILLED])


def _survivors(folder: Path, module: str, names: Sequence[str]) -> list[Survivor]:
    """What mutmut would show of each, by one process."""
    shown = _python(folder, "-c", _SHOW, module, *names) if names else "[]"
    return [_survivor(name, diff) for name, diff in zip(names, json.loads(shown), strict=True)]


def _mutmut(folder: Path, *arguments: str) -> str:
    return _python(folder, "-m", "mutmut", *arguments)


def _python(folder: Path, *arguments: str) -> str:
    # The plugins of this environment are the tests' own; nothing of a running shop's settings is to leak in.
    env = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"mutmut failed:\n{(done.stdout + done.stderr)[-3_000:]}")
    return done.stdout


def _survivor(name: str, diff: str) -> Survivor:
    """What mutmut shows of a mutant: a unified diff of its function."""
    lines = [line for line in diff.splitlines() if line[:3] not in ("---", "+++")]
    was, now = ("\n".join(line[1:].strip() for line in lines if line[:1] == sign) for sign in "-+")
    function = _NUMBERED.sub("", name).replace(".x_", ".").replace("xǁ", "").replace("ǁ", ".")
    return Survivor(function, was, now)


def main(arguments: Sequence[str]) -> int:
    """Try the modules named, or all."""
    known = targets()
    if unknown := set(arguments) - known.keys():
        sys.stderr.write(f"mutation: unknown modules {', '.join(sorted(unknown))}; known: {', '.join(known)}\n")
        return 2
    named, failed = accepted(), False
    for target in (known[name] for name in arguments or known):
        count, alive = run(target)
        module = target.module.removesuffix(".py").replace("/", ".")
        unnamed = [each for each in alive if each not in named]
        stale = [each for each in named if each.function.startswith(f"{module}.") and each not in alive]
        sys.stdout.write(f"{target.name}: {count} mutants, {len(alive)} survive, {len(unnamed)} of them unnamed\n")
        for each in unnamed:
            sys.stdout.write(f"  LIVES {each.function}\n    - {each.was}\n    + {each.now}\n")
        for each in stale:
            sys.stdout.write(f"  noticed now, take it off the list: {each.function}: {each.now}\n")
        sys.stdout.flush()
        failed = failed or bool(unnamed or stale) or not count
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
