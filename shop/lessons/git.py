"""Git, as lessons need it: independent of what the student has configured."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from shop.errors import Refused

# Commits of lessons need no identity, no signature and no hooks, and line ends stay as they are.
_SETTINGS = {
    "user.name": "shop lesson",
    "user.email": "lesson@shop.test",
    "commit.gpgsign": "false",
    "core.hooksPath": "/dev/null",
    "core.autocrlf": "false",
    "advice.detachedHead": "false",
}
_TIMEOUT = 120.0


class TimedOut(Refused):
    """A program that a lesson has started did not end in time; nothing is known of the student's work by that."""


def run(
    words: Sequence[str],
    what: str,
    timeout: float,
    *,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program of ours, with what it prints. Raises `TimedOut`, naming it by `what`, after so many seconds."""
    try:
        return subprocess.run(  # noqa: S603  # nosec B603 # the arguments are ours
            words, cwd=folder, env=env, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as expired:
        raise TimedOut(f"{what} has not ended within {timeout:.0f} s") from expired


def git(folder: Path, *arguments: str, check: bool = True, index: Path | None = None) -> str:
    """Run git in a folder and return what it prints; `index` is used in place of the repository's own.

    Raises `Refused` with git's own words unless it succeeds.
    """
    if shutil.which("git") is None:
        raise Refused("lessons need git; install it with your package manager")
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    env = {**os.environ, "GIT_INDEX_FILE": str(index)} if index else None
    done = run(["git", "-C", str(folder), *settings, *arguments], f"git {arguments[0]}", _TIMEOUT, env=env)
    if check and done.returncode:
        raise Refused(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Change the repository's worktrees while no other lesson does: git prunes what another git has half made."""
    import fcntl

    folder = git(root, "rev-parse", "--path-format=absolute", "--git-common-dir").strip()
    with (Path(folder) / "lessons.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def applies(folder: Path, patch: Path) -> bool:
    """Whether a patch fits the files as they are."""
    try:
        git(folder, "apply", "--check", str(patch))
    except Refused:
        return False
    return True


def ensure_repository(root: Path) -> bool:
    """Make the folder a repository with one commit, unless it is one (a downloaded archive is not); whether it was.

    One without a commit is not: the program that made it was ended before that.
    """
    if (root / ".git").exists() and git(root, "rev-parse", "--quiet", "--verify", "HEAD", check=False):
        return True
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "the shop as downloaded")
    return False
