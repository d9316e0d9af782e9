"""REQUIRE makes what is missing a failure, also where a test finds it out only while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import npm
from tests import node_modules, own_postgres, own_rabbitmq
from tests.not_run import not_run


@pytest.mark.parametrize(
    ("require", "outcome"),
    [
        ("", pytest.skip.Exception),
        ("rabbitmq,redis", pytest.skip.Exception),
        ("redis,postgres", pytest.fail.Exception),
    ],
)
def test_what_is_required_fails(monkeypatch: pytest.MonkeyPatch, require: str, outcome: type[BaseException]) -> None:
    """A test is skipped with its reason, and fails with it where REQUIRE names what is missing."""
    monkeypatch.setenv("REQUIRE", require)
    with pytest.raises(outcome, match="needs initdb"):
        not_run("postgres", "needs initdb")


@pytest.mark.parametrize("required", [False, True])
def test_a_server_without_its_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, required: bool) -> None:
    """Tests with a server of their own obey REQUIRE, too."""
    monkeypatch.setenv("REQUIRE", "postgres,rabbitmq" if required else "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(own_postgres, "_PLACES", str(tmp_path / "*"))
    monkeypatch.setattr(own_rabbitmq, "_PROGRAMS", tmp_path)
    outcome = pytest.fail.Exception if required else pytest.skip.Exception
    for opened in (own_postgres.own_postgres_cluster(), own_rabbitmq.own_rabbitmq_node()):
        with pytest.raises(outcome, match="own programs"), opened:
            pass


@pytest.mark.parametrize("required", [False, True])
def test_packages_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, required: bool) -> None:
    """Tests that need Node or packages of npm obey REQUIRE, too."""

    def missing(*_: object) -> None:
        raise npm.NpmMissing("needs Node and npm")

    monkeypatch.setenv("REQUIRE", "npm" if required else "")
    monkeypatch.setattr(npm, "node", missing)
    monkeypatch.setattr(npm, "installed", missing)
    outcome = pytest.fail.Exception if required else pytest.skip.Exception
    with pytest.raises(outcome, match="needs Node"):
        node_modules.node()
    with pytest.raises(outcome, match="needs Node"):
        node_modules.installed(tmp_path)
