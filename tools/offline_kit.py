"""`python -m tools.offline_kit [FOLDER]`: all that a room without a network needs, in one folder (build/offline-kit).

`wheels` has the locked packages for each target, `shop.bundle` the repository, `README.txt` the commands that install
it. Packages are checked against the lock file's hashes, here and again where they are installed. Exit code 0: made.
1: a package could not be had for a target; it prints which.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pip._vendor.packaging.markers import Marker

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# glibc 2.17 to 2.39, newest first.
_MANYLINUX = [f"manylinux_2_{minor}" for minor in range(39, 16, -1)] + ["manylinux2014", "linux"]
_README = """The shop, for a room without a network. You need git, make and Python 3.11 to 3.14 (Windows: in WSL).

  git clone shop.bundle shop
  cd shop
  PIP_NO_INDEX=1 PIP_FIND_LINKS="$PWD/../wheels" make setup
  . .venv/bin/activate
  shop lesson list

(The first two in this folder, or anywhere with the path to shop.bundle; the wheels may stay on the USB stick.)
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A system that packages are for: its platform tags, and what the lock file's markers see there."""

    name: str
    platforms: tuple[str, ...]
    sys_platform: str
    machine: str

    def markers(self, python: str) -> dict[str, str]:
        system = {"linux": "Linux", "darwin": "Darwin"}[self.sys_platform]
        return {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "sys_platform": self.sys_platform,
            "platform_system": system,
            "platform_machine": self.machine,
            "os_name": "posix",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }


TARGETS = (
    # Windows by WSL is this one, too.
    Target("linux-x86_64", tuple(f"{tag}_x86_64" for tag in _MANYLINUX), "linux", "x86_64"),
    Target("linux-arm64", tuple(f"{tag}_aarch64" for tag in _MANYLINUX), "linux", "aarch64"),
    Target("macos-arm64", ("macosx_14_0_arm64", "macosx_14_0_universal2"), "darwin", "arm64"),
    Target("macos-x86_64", ("macosx_14_0_x86_64", "macosx_14_0_universal2"), "darwin", "x86_64"),
)


def requirements(lock: str, target: Target, python: str) -> str:
    """The lock file's entries that this target installs, hashes included, with their markers decided."""
    kept = []
    for entry in re.split(r"^(?=\S)", lock, flags=re.MULTILINE):
        pinned = re.match(r"(?P<pin>[A-Za-z0-9._\[\],-]+==\S+)(?: ; (?P<marker>[^\\\n]+))?", entry)
        if pinned is None:
            continue
        marker = (pinned["marker"] or "").strip()
        if not marker or Marker(marker).evaluate(target.markers(python)):
            kept.append(pinned["pin"] + entry[pinned.end() :].rstrip())
    return "\n".join(f"{each.rstrip()}" for each in kept) + "\n"


def command(target: Target, python: str, listed: Path, wheels: Path) -> list[str]:
    """The command that downloads them: wheels of the target, or a source distribution where there is no wheel."""
    digits = python.replace(".", "")
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-build-isolation", "--require-hashes", "--dest", str(wheels), "-r", str(listed)),
        *("--implementation", "cp", "--python-version", python, "--abi", f"cp{digits}", "--abi", "abi3"),
        *("--abi", "none"),
        *(part for platform in target.platforms for part in ("--platform", platform)),
    ]


def bundle(path: Path) -> None:
    """Put the repository, as last committed, into one file that `git clone` takes."""
    git = ["git", "-C", str(ROOT), "bundle", "create", "--quiet", str(path.absolute()), "HEAD"]
    subprocess.run(git, check=True)  # noqa: S603  # nosec B603 # our arguments


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else ROOT / "build" / "offline-kit"
    wheels = folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    lock = (ROOT / "requirements.txt").read_text()
    failed = 0
    for target in TARGETS:
        for python in PYTHONS:
            sys.stdout.write(f"{target.name}, Python {python}\n")
            sys.stdout.flush()
            listed = folder / f"{target.name}-{python}.txt"
            listed.write_text(requirements(lock, target, python))
            done = subprocess.run(command(target, python, listed, wheels), check=False)  # noqa: S603  # nosec B603 # our arguments
            failed += done.returncode != 0
            listed.unlink()
    bundle(folder / "shop.bundle")
    (folder / "README.txt").write_text(_README)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) >> 20
    sys.stdout.write(f"{folder}: {size} MiB" + (f"; {failed} targets lack a package, see above\n" if failed else "\n"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
