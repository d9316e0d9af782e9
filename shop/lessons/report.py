"""The lessons and the student's way through them, as the console shows them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from shop.lessons.lesson import Lesson, lessons
from shop.lessons.workspace import Progress, Workspace, home, last_started


def report(env: Mapping[str, str]) -> str:
    """JSON: all lessons with their pages, and what is kept of each. Raises `Refused` where there are none."""
    items = [_as_json(Workspace(lesson, home(env) / str(lesson.number))) for lesson in lessons()]
    return json.dumps({"current": last_started(env), "items": items})


def _as_json(workspace: Workspace) -> dict[str, Any]:
    lesson, progress = workspace.lesson, workspace.progress()
    return {
        "number": lesson.number,
        "title": lesson.title,
        "subject": lesson.subject,
        "minutes": lesson.minutes,
        "task": lesson.task,
        "hints": lesson.hints,
        "solution": lesson.solution_patch.read_text(),
        "started": workspace.exists,
        "checks": progress.checks,
        "checking": _alive(progress.checking),
        "verdict": progress.verdict,
        "said": progress.said,
        "details": progress.details,
        **(_learned(lesson, progress) if progress.kept else {}),
    }


def _learned(lesson: Lesson, progress: Progress) -> dict[str, str]:
    """The page's answers after the repair."""
    return {"why": lesson.explanation, "guess": progress.guess, "answer": lesson.answer}


def _alive(pid: int) -> bool:
    """Whether the process that makes a check still does."""
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # the number is another user's process now
        return False
    return True
