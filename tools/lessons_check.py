"""`python -m tools.lessons_check [N…]`: each lesson's check must judge rightly.

As delivered it is broken, with the lesson's message; the solution is kept, three times; each wrong fix is broken, with
its own message; without its fault the check is void. Exit code 0: all of that; 1: not, and it prints what.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shop.lessons import shop_process
from shop.lessons.checking import Result, Verdict, check
from shop.lessons.lesson import Lesson, lessons, matches
from shop.lessons.workspace import Workspace

SOLUTION_RUNS = 3


@contextmanager
def fresh(lesson: Lesson, folder: Path, patch: Path | None = None) -> Iterator[Workspace]:
    """A workspace with the broken code and a patch of it; nothing of it is left."""
    workspace = Workspace(lesson, folder / str(lesson.number))
    workspace.create()
    try:
        if patch:
            workspace.apply(patch)
        yield workspace
    finally:
        shop_process.stop(workspace)
        workspace.remove()


def unexpected(result: Result, verdict: Verdict, message: str = "") -> list[str]:
    """The fault of a result; empty where it is as expected."""
    if result.verdict is verdict and matches(message, result.message):
        return []
    return [f"expected {verdict.name}: {message}\n     got {result.verdict.name}: {result.message}\n{result.details}"]


def as_delivered(lesson: Lesson, folder: Path) -> list[str]:
    """Broken, with the lesson's own message; void without the fault."""
    with fresh(lesson, folder) as workspace:
        wrong = unexpected(check(workspace), Verdict.BROKEN, lesson.broken)
        return wrong + unexpected(check(workspace, fault=False), Verdict.VOID, lesson.void)


def solved(lesson: Lesson, folder: Path, *, runs: int = SOLUTION_RUNS) -> list[str]:
    """Kept, each time."""
    with fresh(lesson, folder, lesson.solution_patch) as workspace:
        return [problem for _ in range(runs) for problem in unexpected(check(workspace), Verdict.KEPT)]


def wrongly_solved(lesson: Lesson, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each wrong fix: broken, with its own message."""
    for wrong in lesson.wrong_fixes:
        with fresh(lesson, folder, wrong.patch) as workspace:
            yield f"wrong fix: {wrong.name}", unexpected(check(workspace), Verdict.BROKEN, wrong.expect)


def _tried(lesson: Lesson, folder: Path) -> Iterator[tuple[str, list[str]]]:
    yield "as delivered", as_delivered(lesson, folder)
    yield f"solution, {SOLUTION_RUNS} times", solved(lesson, folder)
    yield from wrongly_solved(lesson, folder)


def main(arguments: list[str]) -> int:
    # A machine that is busy with all of them is given more time; nothing is judged by it.
    os.environ.setdefault("LESSON_SECONDS", "60")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for lesson in lessons():
            if arguments and str(lesson.number) not in arguments:
                continue
            began = time.monotonic()
            for name, problems in _tried(lesson, Path(folder)):
                seconds, began = time.monotonic() - began, time.monotonic()
                failed += bool(problems)
                verdict = "WRONG" if problems else "as it should"
                sys.stdout.write(f"lesson {lesson.number}, {name}: {verdict} ({seconds:.0f} s)\n")
                sys.stdout.writelines(f"  {problem}\n" for problem in problems)
                sys.stdout.flush()
    sys.stdout.write(f"{failed} wrong\n" if failed else "every check judges as it should\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
