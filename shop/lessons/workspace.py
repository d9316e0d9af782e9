"""One lesson's workspace: a git worktree with the broken code, and what is known of the student's way through it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from shop.errors import Refused
from shop.lessons.git import alone, applies, ensure_repository, git, run
from shop.lessons.lesson import ROOT, Lesson, lesson
from shop.process_table import TABLE
from shop.supervisor import ports
from shop.urls import data_dir

_TIMEOUT = 60.0
# A check signs in more often than people do.
_SETTINGS = {"SHOP_SIGN_IN_RATE_LIMIT": "10000/minute"}


@dataclass(slots=True)
class Progress:
    """State of a lesson: `base` is the commit with the broken code, `running` the code that its shop runs.

    `verdict`, `said` and `details` are those of the last check; `checking` is the process that makes one now, or 0.
    """

    base: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    running: str = ""
    guess: str = ""
    hints: int = 0
    checks: int = 0
    kept: bool = False
    verdict: str = ""
    said: str = ""
    details: str = ""
    checking: int = 0

    @classmethod
    def read(cls, path: Path) -> Progress:
        """The file's content; nothing where there is none. What another version has added is left out."""
        content = json.loads(path.read_text()) if path.exists() else {}
        return cls(**{each.name: content[each.name] for each in fields(cls) if each.name in content})


@dataclass(frozen=True, slots=True)
class Workspace:
    """The workspace of a lesson: `tree` is the worktree; its shop's data are in `tree/.shop`."""

    lesson: Lesson
    tree: Path

    @property
    def data_dir(self) -> Path:
        return self.tree / ".shop"

    @property
    def log(self) -> Path:
        return self.tree.with_suffix(".log")

    @property
    def exists(self) -> bool:
        """Whether it is whole: `create` notes the base last."""
        return (self.tree / ".git").exists() and bool(self.progress().base)

    def progress(self) -> Progress:
        return Progress.read(self.tree.with_suffix(".json"))

    def save(self, progress: Progress) -> None:
        path = self.tree.with_suffix(".json")
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(progress), indent=1))
        draft.replace(path)

    def create(self) -> None:
        """Check out the last commit, break it, and choose ports. Raises `Refused`.

        What fails or is interrupted leaves no worktree; one that is left by a program that was killed has no base, and
        is removed first.
        """
        self.tree.parent.mkdir(parents=True, exist_ok=True)
        ensure_repository(ROOT)
        progress = self.progress()
        progress.base = ""
        self.save(progress)
        self.remove()
        try:
            progress.base = self._broken()
            progress.ports = progress.ports or _free_ports()
        except BaseException:
            self.remove()
            raise
        progress.running, progress.kept = "", False
        progress.verdict = progress.said = progress.details = ""
        self.save(progress)

    def _broken(self) -> str:
        """Make the worktree with the broken code; the commit that it is."""
        with alone(ROOT):
            git(ROOT, "worktree", "add", "--quiet", "--detach", str(self.tree), "HEAD")
        if not applies(self.tree, self.lesson.break_patch):
            raise Refused(f"lesson {self.lesson.number} does not fit the code of the last commit (git log -1)")
        self.apply(self.lesson.break_patch)
        git(self.tree, "commit", "--quiet", "--all", "--message", f"lesson {self.lesson.number} as delivered")
        return git(self.tree, "rev-parse", "HEAD").strip()

    def apply(self, patch: Path) -> None:
        """Apply a patch to the files as they are. Raises `Refused` when it does not fit them."""
        git(self.tree, "apply", str(patch))

    def generate(self) -> None:
        """Generate the code of the contracts, as far as it is out of date. Raises `Refused` with protoc's words."""
        done = run([sys.executable, "-m", "protos"], "the generation of the contracts", _TIMEOUT, folder=self.tree)
        if done.returncode:
            raise Refused(f"protoc refuses a contract: {done.stderr.strip()}")

    def diff(self) -> str:
        """The student's changes, new files included."""
        return self._compared()

    def changed_files(self) -> list[str]:
        return self._compared("--name-only").splitlines()

    def _compared(self, *options: str) -> str:
        """`git diff` with the code as delivered, by a copy of the index: the student decides what is staged in it."""
        own = self.tree / git(self.tree, "rev-parse", "--git-path", "index").strip()
        with tempfile.TemporaryDirectory(prefix="shop-lesson-") as folder:
            index = Path(folder) / "index"
            shutil.copy2(own, index)  # with its time: git compares a file that is as new as its index by content
            git(self.tree, "add", "--all", "--intent-to-add", index=index)
            return git(self.tree, "diff", *options, self.progress().base, index=index)

    def fingerprint(self) -> str:
        """A fingerprint of the code as it is now, to compare with the running shop's."""
        return hashlib.sha256((self.progress().base + self.diff()).encode()).hexdigest()[:16]

    def keep(self) -> str:
        """Put the student's changes on a branch of their own; its name, empty where nothing was changed."""
        if not self.diff():
            return ""
        prefix = f"lesson/{self.lesson.number}/try-"
        taken = git(ROOT, "for-each-ref", "--format=%(refname:short)", f"refs/heads/lesson/{self.lesson.number}")
        numbers = [int(name.removeprefix(prefix)) for name in taken.split() if name.removeprefix(prefix).isdigit()]
        name = f"{prefix}{max(numbers, default=0) + 1}"
        git(self.tree, "add", "--all")
        git(self.tree, "commit", "--quiet", "--allow-empty", "--message", f"{self.lesson.title}: a try")
        git(self.tree, "branch", name)
        return name

    def remove(self) -> None:
        """Delete the worktree; what is known of the student's way stays."""
        with alone(ROOT):
            git(ROOT, "worktree", "unlock", str(self.tree), check=False)  # a git that was killed has it locked
            git(ROOT, "worktree", "remove", "--force", str(self.tree), check=False)
            shutil.rmtree(self.tree, ignore_errors=True)
            git(ROOT, "worktree", "prune")

    def environment(self) -> dict[str, str]:
        """Environment of the lesson's shop: nothing of another shop's, the lesson's settings, and its ports."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
        chosen = {setting: str(port) for setting, port in self.progress().ports.items()}
        return {**inherited, **_SETTINGS, **self.lesson.settings, **chosen, "SHOP_DATA_DIR": str(self.data_dir)}


def home(env: Mapping[str, str]) -> Path:
    """The folder of the workspaces, also where the code in one of them is run."""
    return ROOT.parent if (ROOT.parent / f"{ROOT.name}.json").exists() else data_dir(env) / "lessons"


def workspace(number: int, env: Mapping[str, str]) -> Workspace:
    """The workspace of this lesson, which need not exist. Raises `Refused` for a lesson that there is not."""
    return Workspace(lesson(number), home(env) / str(number))


def last_started(env: Mapping[str, str]) -> int | None:
    """The number of the lesson that was started last; None where none was, or its note cannot be read."""
    note = home(env) / "current"
    text = note.read_text() if note.exists() else ""
    return int(text) if text.isascii() and text.isdigit() else None


def note_started(number: int, env: Mapping[str, str]) -> None:
    """Have this lesson be the one that was started last."""
    draft = home(env) / "current.draft"
    draft.write_text(str(number))
    draft.replace(home(env) / "current")


def current(number: int | None, env: Mapping[str, str]) -> Workspace:
    """The workspace of this lesson, or of the folder that we are in, or the one last started. Raises `Refused`."""
    if number is None:
        here = [int(part.name) for part in (Path.cwd(), *Path.cwd().parents) if _is_workspace(part)]
        number = here[0] if here else last_started(env)
    if number is None:
        raise Refused("no lesson has been started; `shop lesson list` shows them, `shop lesson start 1` starts one")
    found = workspace(number, env)
    if not found.exists:
        raise Refused(f"lesson {number} has not been started: shop lesson start {number}")
    return found


def _is_workspace(folder: Path) -> bool:
    return folder.name.isdigit() and folder.parent.name == "lessons" and folder.with_suffix(".json").exists()


def _free_ports() -> dict[str, int]:
    anything = {port.setting: "0" for spec in TABLE for port in spec.ports}
    return ports.assign(TABLE, anything, "127.0.0.1")
