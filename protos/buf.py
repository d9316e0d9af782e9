"""buf beside our own checks, where Node is there: from npm, this version exactly, into the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from protos.descriptors import ACCEPTED, ROOT

VERSION = "1.75.0"
_PACKAGE = f"@bufbuild/buf@{VERSION}"
_PATIENCE = 120.0


class BufMissing(Exception):
    """buf cannot be had here; the message says why."""


def program() -> Path:
    """buf, installed if need be. Raises `BufMissing`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise BufMissing("there is no Node")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyglot-shop"
    home = cache / f"buf-{VERSION}"
    if not home.exists():
        try:
            _install(npm, cache, home)
        except (OSError, subprocess.SubprocessError) as error:
            raise BufMissing(f"npm could not install {_PACKAGE}: {error}") from error
    return home / "node_modules/.bin/buf"


def _install(npm: str, cache: Path, home: Path) -> None:
    """Beside its place first, so that whoever finds it there finds all of it."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = [npm, "install", "--silent", "--no-save", "--no-package-lock", "--ignore-scripts", _PACKAGE]
        subprocess.run(command, cwd=folder, check=True, timeout=_PATIENCE, capture_output=True)  # noqa: S603
        made = Path(folder) / "made"
        made.mkdir()
        (Path(folder) / "node_modules").rename(made / "node_modules")
        try:
            made.rename(home)
        except OSError:
            if not home.exists():  # else somebody else was first
                raise


def lint(buf: Path, root: Path = ROOT) -> list[str]:
    """What `buf lint` has against the contracts, by the rules of buf.yaml."""
    return _run(buf, "lint", str(root))


def breaking(buf: Path, root: Path = ROOT, against: Path = ACCEPTED) -> list[str]:
    """What `buf breaking` says that the contracts break of the accepted ones."""
    return _run(buf, "breaking", str(root), "--against", str(against))


def _run(buf: Path, *arguments: str) -> list[str]:
    done = subprocess.run(  # noqa: S603 - our own arguments
        [str(buf), *arguments], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    said = (done.stdout + done.stderr).splitlines()
    return said if said or done.returncode == 0 else [f"buf {arguments[0]} ended with {done.returncode}"]
