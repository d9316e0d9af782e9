"""A lesson as its folder in `lessons/` describes it: page, settings, patches."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shop.errors import Refused

ROOT = Path(__file__).parents[2]
LESSONS = ROOT / "lessons"


@dataclass(frozen=True, slots=True)
class WrongFix:
    """A fix that looks right, as a patch of the broken tree, and the answer due from the check (`…` is any text)."""

    patch: Path
    name: str
    expect: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """`broken` and `void` are the check's messages as delivered, and if its fault has met nothing (`…` is any text).

    `files` are those that a repair may have to touch; `answer` is the letter of the right prediction.
    """

    number: int
    title: str
    subject: str
    minutes: int
    answer: str
    processes: tuple[str, ...]
    files: tuple[str, ...]
    broken: str
    void: str
    settings: Mapping[str, str]
    folder: Path
    sections: Mapping[str, str]

    @property
    def task(self) -> str:
        """The page up to the repair: everything that gives nothing away."""
        shown = ("Predict", "Break", "See", "Fix")
        return "\n\n".join([self.sections[""], *(f"## {name}\n\n{self.sections[name]}" for name in shown)])

    @property
    def explanation(self) -> str:
        """The page's end, for after the repair."""
        return "\n\n".join(f"## {name}\n\n{self.sections[name]}" for name in ("Why", "In the wild"))

    @property
    def hints(self) -> list[str]:
        return [" ".join(each.split()) for each in re.split(r"^\d+\. ", self.sections["Hints"], flags=re.MULTILINE)[1:]]

    @property
    def break_patch(self) -> Path:
        return self.folder / "break.patch"

    @property
    def solution_patch(self) -> Path:
        return self.folder / "solution.patch"

    @property
    def check(self) -> Path:
        return self.folder / "check.py"

    @property
    def wrong_fixes(self) -> list[WrongFix]:
        return [_wrong_fix(path) for path in sorted(self.folder.glob("wrong/*.patch"))]


def lessons(folder: Path = LESSONS) -> list[Lesson]:
    """All lessons, in order. Raises `Refused` where there are none."""
    found = sorted((_read(path.parent) for path in folder.glob("*/lesson.toml")), key=lambda lesson: lesson.number)
    if not found:
        raise Refused(f"there are no lessons in {folder}; a clone of the repository has them")
    return found


def lesson(number: int) -> Lesson:
    """The lesson of this number. Raises `Refused`."""
    there = {each.number: each for each in lessons()}
    if number not in there:
        raise Refused(f"there is no lesson {number}; the lessons are {', '.join(map(str, there))}")
    return there[number]


def matches(expected: str, message: str) -> bool:
    """Whether a message is, or contains, what was expected; `…` in that stands for any text."""
    at = 0
    for part in expected.split("…"):
        at = message.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _read(folder: Path) -> Lesson:
    content = tomllib.loads((folder / "lesson.toml").read_text())
    settings = {name: str(value) for name, value in content.pop("settings", {}).items()}
    content |= {name: tuple(content[name]) for name in ("processes", "files")}
    return Lesson(**content, settings=settings, folder=folder, sections=_sections(folder / "lesson.md"))


def _sections(page: Path) -> dict[str, str]:
    """Text by heading; the part before the first, the title included, has no name."""
    parts = re.split(r"^## (.+)\n", page.read_text(), flags=re.MULTILINE)
    return {name: text.strip("\n").rstrip() for name, text in zip(["", *parts[1::2]], parts[::2], strict=True)}


def _wrong_fix(path: Path) -> WrongFix:
    """The patch's first lines name it (`name:`) and give the answer that the check must make (`expect:`)."""
    head = dict(line.split(": ", 1) for line in path.read_text().split("diff --git")[0].splitlines() if ": " in line)
    return WrongFix(path, head["name"], head["expect"])
