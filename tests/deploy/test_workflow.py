"""The GitHub workflow runs the same gate as a developer, with no more rights than it needs, and ends."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import yaml

from tests.deploy.manifests import ROOT

WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def test_linux_runs_the_gate() -> None:
    """On Linux the one command is .ci/run, which exists, on both architectures and the oldest and newest Python."""
    (command,) = commands("linux")
    assert command.split()[-1] == ".ci/run"
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    matrix = JOBS["linux"]["strategy"]["matrix"]
    assert matrix["arch"] == ["amd64", "arm64"] == [each["arch"] for each in matrix["include"]]
    assert matrix["python"] == ["3.11", "3.13", "3.14"] == JOBS["macos"]["strategy"]["matrix"]["python"]


def test_macos_runs_the_embedded_default() -> None:
    """On macOS it is the gate's own commands, requiring no server."""
    gate = (ROOT / ".ci/run").read_text()
    assert commands("macos") == ["make check", "make test test-long"]
    assert all(command in gate for command in commands("macos"))
    assert "REQUIRE" not in str(JOBS["macos"])


def test_least_rights_and_an_end() -> None:
    """It may read the code and no more, keeps no credentials, gives way to its successor, and stops in time."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is True
    for job in JOBS.values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]), "of GitHub itself, at a major version"
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


def test_runs_on_every_change() -> None:
    """For what lands, and for what wants to."""
    triggers = WORKFLOW[True]  # YAML 1.1 reads "on" so
    assert set(triggers) == {"push", "pull_request"}
    assert triggers["push"] == {"branches": ["main"]}


def test_gate_tries_a_fresh_machine_first() -> None:
    """All tests run where nothing listens, and then with the servers those that need one; a failure fails at once."""
    gate = (ROOT / ".ci/run").read_text()
    alone = gate.index('unshare --net bash -c "ip link set lo up && REQUIRE=$required make test test-long"')
    assert "required=browser,kafka,kcat\n" in gate[:alone]
    served = gate.index("REQUIRE=rabbitmq,postgres,redis,npm make test")
    assert alone < served
    assert "-m 'rabbitmq or postgres or redis or npm'" in gate[served:]
    assert "last-failed" not in gate


def test_no_function_of_the_gate_hides_a_program() -> None:
    """A function with a program's name, such as `install`, is run in its place: kubectl was never installed."""
    functions = re.findall(r"^(\w+)\(\)", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert functions
    assert [name for name in functions if shutil.which(name)] == []


def test_kubectl_is_required_once_it_is_there() -> None:
    """The Kubernetes tests are not skipped in silence: they run, or the gate says that they did not."""
    gate = (ROOT / ".ci/run").read_text()
    decision = gate[gate.index("required=browser") : gate.index("\nmake check")]
    for path, required, said in ((os.environ["PATH"], "kubectl", ""), ("/nonexistent", "kcat", "NOT RUN")):
        have = "kubectl() { :; }\n" if required == "kubectl" else ""
        done = subprocess.run(
            ["/bin/bash", "-ec", f"{have}{decision}\necho $required"],
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip().endswith(f",{required}")
        assert said in done.stderr


def test_what_takes_long_runs_every_night() -> None:
    """Faults, mutants, lessons, a soak and the alerts run by the commands of the Makefile, and end in time."""
    nightly: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/nightly.yml").read_text())
    makefile = (ROOT / "Makefile").read_text()
    assert nightly["permissions"] == {"contents": "read"}
    assert "schedule" in nightly[True]
    steps = [step["run"] for job in nightly["jobs"].values() for step in job["steps"] if "run" in step]
    ran = [command for command in steps if command.startswith("make ")]
    assert ran == [
        "make faults ARGS=lanes=2",
        "make lessons-check",
        "make faults ARGS=mutants",
        "make mutation",
        "make soak",
        "make alerts",
    ]
    assert all(f"\n{command.split()[1]}:" in makefile for command in ran)
    assert all(job["timeout-minutes"] <= 60 for job in nightly["jobs"].values())
