"""`make bench-peers`, small: its servers and what it says. Its figures are not looked at: the machine may be busy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import npm
from bench.npm import NpmMissing
from bench.peers import run as peers
from bench.peers import servers as peers_servers
from tests.node_modules import installed, node

ROWS = [
    *[("the articles' query", peer) for peer in ("apollo", "apollo with duties", "mercurius", "mercurius with duties")],
    *[("GET a product, gRPC", peer) for peer in ("fastify", "fastify with duties")],
    *[("an event to WebSockets", "ws")] * 2,
]


@pytest.mark.npm
@pytest.mark.timeout(300)
def test_all_servers_answer_the_same_and_each_peer_has_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers that differ end the run; the table has each peer with its bar, the exit code says if one is missed."""
    node()
    installed(peers_servers.NODE)
    monkeypatch.setattr(peers, "RESULTS", tmp_path)
    # As many events as take some hundredths of a second: not every kernel's clock of processor time counts finer.
    amounts = ["--rounds", "1", "--seconds", "0.1", "--connections", "5", "--events", "400"]
    monkeypatch.setattr(sys, "argv", ["bench.peers", *amounts])
    code = peers.main()
    found: list[dict[str, Any]] = json.loads((tmp_path / "peers.json").read_text())["rows"]
    assert [(row["what"], row["peer"]) for row in found] == ROWS
    barred = [row for row in found if row["bar"] is not None]
    assert {row["peer"] for row in barred} == {peer for _, peer in ROWS if peer == "ws" or peer.endswith("with duties")}
    assert code == (1 if any(row["ratio"] < row["bar"] for row in barred) else 0)
    shown = capsys.readouterr().out
    assert all(shown.count(f"{what:<24} {peer:<24}") == ROWS.count((what, peer)) for what, peer in ROWS)
    assert shown.count("MISSED") == sum(row["ratio"] < row["bar"] for row in barred)


def test_without_node_it_is_said_that_nothing_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is printed, and the exit code is not that of a missed bar."""

    def missing() -> str:
        raise NpmMissing("needs Node 22")

    monkeypatch.setattr(peers_servers, "node", missing)
    monkeypatch.setattr(sys, "argv", ["bench.peers"])
    assert peers.main() == 2
    assert "nothing was measured beside Node's servers: needs Node 22" in capsys.readouterr().out


def test_packages_are_installed_where_no_other_user_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are executed: a folder that others can write to is refused."""
    for program in ("node", "npm"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = npm.installed(peers_servers.NODE)
    assert (home / "package-lock.json").exists()
    assert home.parent.parent == tmp_path / "cache"
    assert home.parent.stat().st_mode & 0o777 == 0o700
    home.parent.chmod(0o777)
    with pytest.raises(NpmMissing, match=r"others can write to .*polyglot-shop"):
        npm.installed(peers_servers.NODE)
