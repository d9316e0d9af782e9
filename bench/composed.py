"""The composed shop of a bench: its containers, their shares of a core, and the processor time that they have used."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

import psutil

WITHIN = 120.0
# What no process of the shop reaches: the copies of a bench get it back, and have it while they start.
UNHELD = "2"
FILES = ("-f", "docker-compose.yml", "-f", "bench/scale/scale.yml")


@dataclass(frozen=True)
class Copy:
    """One container, and its address on the machine that runs the engine."""

    id: str
    service: str
    address: str
    pid: int

    def hold(self, cpus: str) -> None:
        docker("update", "--cpus", cpus, self.id)

    def processor(self) -> float:
        """Seconds of processor time of its processes so far, without health checks, which are no children of them."""
        first = psutil.Process(self.pid)
        times = [each.cpu_times() for each in (first, *first.children(recursive=True))]
        return sum(each.user + each.system for each in times)


def docker(*arguments: str) -> str:
    """The output of a docker command. Raises `RuntimeError` with its error output."""
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def compose(*arguments: str) -> str:
    return docker("compose", *FILES, "--profile", "scale", *arguments)


def copies(*services: str) -> list[Copy]:
    """The running containers of these services; of all when none is named."""
    found = json.loads(docker("inspect", *compose("ps", "--quiet", *services).split()))
    return [_copy(each) for each in found]


def _copy(found: dict[str, Any]) -> Copy:
    networks = found["NetworkSettings"]["Networks"].items()
    address = next(network["IPAddress"] for name, network in networks if name.endswith("_internal"))
    return Copy(found["Id"], found["Config"]["Labels"]["com.docker.compose.service"], address, found["State"]["Pid"])


def run_only(service: str, count: int) -> list[Copy]:
    """Exactly so many copies of a service. A start takes much of a core, so that no copy is held while it starts."""
    running = copies(service)
    if len(running) > count:
        docker("stop", *(each.id for each in running[count:]))
    elif len(running) < count:
        stopped = compose("ps", "--all", "--quiet", "--status", "exited", service).split()
        ids = stopped[: count - len(running)]
        docker("update", "--cpus", UNHELD, *ids)
        docker("start", *ids)
    return copies(service)
