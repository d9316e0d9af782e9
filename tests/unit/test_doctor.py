"""`shop doctor`: each check says what it found, whether it is enough, and how to mend it."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from shop.commands.doctor import checks
from shop.commands.doctor.checks import Finding
from shop.commands.doctor.ports import holder


@pytest.mark.parametrize(
    ("finding", "fine", "fix"),
    [
        (checks.python((3, 11)), True, ""),
        (checks.python((3, 10)), False, "PYTHON="),
        (checks.files(256), False, "ulimit -n"),
        (checks.files(resource.RLIM_INFINITY), True, ""),
        (checks.umask(0o022), True, ""),
        (checks.umask(0o077), True, "chmod"),
        (checks.memory(200 << 20), False, "--only"),
        (checks.memory(4 << 30), True, ""),
        (checks.clock(100.0, 200.0), False, "set-ntp"),
        (checks.docker(1 << 30), True, "daemon.json"),
        (checks.docker(65_536), True, ""),
    ],
)
def test_finding_says_how_to_mend_it(finding: Finding, fine: bool, fix: str) -> None:
    """What is not enough has a fix, and what is enough has none."""
    assert finding.fine is fine
    assert (fix in finding.fix) if fix else finding.fix == ""


def test_container_beside_the_shop_is_told_apart(tmp_path: Path) -> None:
    """Where settings name processes elsewhere, neither ports nor a disk are looked at, and `shop status` is named."""
    env = {"SHOP_GATEWAY_URL": "http://gateway:8000", "SHOP_DATA_DIR": str(tmp_path / "none")}
    findings = checks.examine(env)
    assert any("SHOP_GATEWAY_URL=http://gateway:8000" in each.what for each in findings)
    assert not any("port" in each.what.split() or "disk" in each.what for each in findings)


def test_taken_port_is_told_with_its_holder(tmp_path: Path) -> None:
    """A port that another program holds is named, with that program and the setting that moves ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = checks.examine({"SHOP_DATA_DIR": str(tmp_path), "SHOP_GATEWAY_PORT": str(port)})
        (taken,) = [each for each in found if str(port) in each.what]
        assert not taken.fine
        assert "SHOP_GATEWAY_PORT" in taken.fix
        if Path("/proc/net/tcp").exists():
            assert f"by process {os.getpid()}" in taken.what
            assert f"by process {os.getpid()}" in holder(port)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="not run: the kernel lists no sockets")
def test_a_process_that_ends_meanwhile_does_not_keep_the_holder_from_being_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its descriptors are gone when they are looked at: the next process is looked at."""
    looked_at: list[str] = []
    scan = os.scandir

    def ended(path: str | Path = ".") -> object:
        if str(path).endswith("/fd"):
            looked_at.append(str(path))
            if len(looked_at) == 1:
                raise FileNotFoundError(2, "No such file or directory", str(path))
        return scan(path)

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(os, "scandir", ended)
        found = holder(server.getsockname()[1])
        monkeypatch.undo()
    assert looked_at
    assert f"by process {os.getpid()}" in found or str(os.getpid()) in looked_at[0]
