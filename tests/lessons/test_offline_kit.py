"""The offline kit: what it would download for whom, and that the repository in it can be cloned."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from shop.lessons.lesson import ROOT
from tools.offline_kit import PYTHONS, TARGETS, Target, bundle, command, requirements

LOCK = (ROOT / "requirements.txt").read_text()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("python", PYTHONS)
def test_a_target_gets_what_it_installs(target: Target, python: str) -> None:
    """Of each package one version, with its hashes; what is for other systems or Pythons is left out."""
    listed = requirements(LOCK, target, python)
    names = re.findall(r"^([\w.-]+)(?:\[.*\])?==", listed, re.MULTILINE)
    assert len(names) == len(set(names))
    assert {"grpcio", "uvloop", "spyne", "setuptools"} <= set(names)
    assert not {"pywin32", "colorama"} & set(names)
    assert ("legacy-cgi" in names) == (python in ("3.13", "3.14"))
    assert listed.count("--hash=sha256:") >= len(names)
    assert " ; " not in listed


def test_wheels_are_those_of_the_target(tmp_path: Path) -> None:
    """pip gets the system and the Python for which packages are wanted, not the ones that it runs on."""
    told = " ".join(command(TARGETS[2], "3.14", tmp_path / "list", tmp_path))
    assert "--python-version 3.14" in told
    assert "--platform macosx_14_0_arm64" in told
    assert "--abi cp314" in told


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not run: needs the git checkout")
def test_the_repository_is_cloned_from_the_kit(tmp_path: Path) -> None:
    """The command in its text gives the files of the last commit, and a repository in which lessons can start."""
    bundle(tmp_path / "shop.bundle")
    subprocess.run(["git", "clone", "--quiet", "shop.bundle", "shop"], cwd=tmp_path, check=True)
    assert (tmp_path / "shop" / "lessons" / "kit.py").exists()
    subprocess.run(["git", "rev-parse", "--quiet", "--verify", "HEAD"], cwd=tmp_path / "shop", check=True)
