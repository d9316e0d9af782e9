"""Draws a run's tables and pictures from its files, and the blocks of docs/comparison.md from the kept run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from bench.compare.measure.folder import ENVIRONMENT, Row, rows
from bench.compare.report.sections import e1, e2, e3, e4, e5, e6, e7, e8, e9, lie

PARTS: tuple[ModuleType, ...] = (e1, e2, e3, e4, e5, e6, e7, e8, e9, lie)
_BLOCK = re.compile(r"(<!-- begin: ([a-z0-9-]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)


def draw(folder: Path, to: Path) -> list[Path]:
    """Write a run's `tables.md` and every picture into the folder `to`; returns their paths."""
    found = rows(folder)
    written = []
    to.mkdir(parents=True, exist_ok=True)
    for name, svg in pictures(found).items():
        (to / name).write_text(svg)
        written.append(to / name)
    text = "\n".join(f"## {name}\n\n{content}" for name, content in blocks(folder).items())
    (to / "tables.md").write_text(text)
    return [to / "tables.md", *written]


def pictures(found: Sequence[Row]) -> dict[str, str]:
    """File name -> SVG, of whatever was measured."""
    return {name: svg for part in PARTS for name, svg in part.pictures(found).items()}


def blocks(folder: Path) -> dict[str, str]:
    """Name -> Markdown, of whatever was measured, with the machine and the command."""
    found = rows(folder)
    made = {name: text for part in PARTS for name, text in part.tables(found).items()}
    return {"environment": _environment(folder), **made}


def filled(text: str, content: dict[str, str]) -> str:
    """The document with each block's content between its marks. Raises `KeyError` for a block that is not there."""

    def replace(match: re.Match[str]) -> str:
        return f"{match[1]}\n{content[match[2]]}\n{match[3]}"

    return _BLOCK.sub(replace, text)


def names_of_blocks(text: str) -> list[str]:
    return [match[1] for match in _BLOCK.findall(text)]


# A load of so many processes and more disturbs what is measured.
_BUSY = 0.5


def _environment(folder: Path) -> str:
    found = json.loads((folder / ENVIRONMENT).read_text())
    libraries = ", ".join(f"{name} {version}" for name, version in found["libraries"].items())
    others = "other" if found["load_1m"] >= _BUSY else "little other"
    return (
        f"`{found['command']}` on {found['when']}: {found['cores']} cores ({found['machine']}), {found['system']}, "
        f"Python {found['python']}, load {found['load_1m']} when it began; the machine had {others} work to do, so "
        f"read intervals and ratios within rounds, not single milliseconds.\n\nLibraries: {libraries}.\n"
    )


Writer = Callable[[Sequence[Row]], dict[str, str]]
