"""The lessons' checks, on real shops: the broken code is judged broken, the solution kept.

Of the first two lessons, once: `make lessons-check` tries all of them every night, with each wrong fix, and each
solution three times.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from shop.lessons.lesson import ROOT, Lesson, lessons
from tools.lessons_check import as_delivered, solved

pytestmark = [
    pytest.mark.long,
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not run: needs the git checkout"),
]


@pytest.fixture(autouse=True)
def _time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is given more time than a student's; nothing is judged by it."""
    monkeypatch.setenv("LESSON_SECONDS", "60")


@pytest.mark.parametrize("lesson", lessons()[:2], ids=lambda lesson: lesson.folder.name)
def test_the_check_judges_rightly(lesson: Lesson, tmp_path: Path) -> None:
    """As delivered it fails with its message, without its fault it is void, and the solution passes."""
    assert as_delivered(lesson, tmp_path) == []
    assert solved(lesson, tmp_path, runs=1) == []
