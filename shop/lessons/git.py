"""Git, as lessons need it: independent of what the student has configured."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
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


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """Run git in a folder and return what it prints. Raises `Refused` with git's own words unless it succeeds."""
    if shutil.which("git") is None:
        raise Refused("lessons need git; install it with your package manager")
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    done = subprocess.run(  # noqa: S603  # nosec B603 B607 # the arguments are ours
        ["git", "-C", str(folder), *settings, *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
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
