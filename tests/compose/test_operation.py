"""What an operator counts on of docker-compose.yml and the files beside it, read without an engine."""

from __future__ import annotations

import re
import subprocess
from collections import Counter

from tests.compose.stack import ROOT
from tests.compose.test_files import COMPOSE, SERVICES
from tests.deploy.manifests import variables

OWN = "polyglot-shop:${SHOP_VERSION:-dev}"


def test_each_image_is_built_by_one_service() -> None:
    """No two services build one name, which the containerd image store refuses; ours are never looked for elsewhere."""
    built = Counter(service["image"] for service in SERVICES.values() if "build" in service)
    assert built[OWN] == 1
    assert set(built.values()) == {1}
    assert all(each["pull_policy"] == "never" for each in SERVICES.values() if each["image"] == OWN)


def test_make_down_knows_every_profile() -> None:
    """`make down` stops what any profile started: compose leaves the containers of a profile that is not named."""
    command = subprocess.run(["make", "-n", "down"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", ())}
    assert set(re.findall(r"--profile (\S+)", command)) == profiles
    assert "--remove-orphans" in command


def test_rabbitmq_may_open_a_bounded_number_of_files() -> None:
    """Erlang reserves memory for each file it may open; the engine's own limit may be 1,000,000,000."""
    nodes = [each for each in SERVICES.values() if each["image"].startswith("rabbitmq:")]
    assert len(nodes) == 4
    assert all(each["ulimits"]["nofile"]["hard"] <= 65536 for each in nodes)


def test_second_copy_shares_nothing_with_the_first() -> None:
    """The settings of a second copy change its name, its network, and every port that can be published."""
    second = variables(ROOT / "deploy/compose/second/env")
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    wanted = {setting: default for port in ports for setting, default in re.findall(r"\$\{(\w+_PORT):-(\d+)\}", port)}
    assert {name for name in second if name.endswith("_PORT")} == wanted.keys()
    assert all(second[name] != default for name, default in wanted.items())
    assert second["COMPOSE_PROJECT_NAME"] != COMPOSE["name"]
    assert (
        f"${{SHOP_SUBNET:-{second['SHOP_SUBNET']}}}" != COMPOSE["networks"]["internal"]["ipam"]["config"][0]["subnet"]
    )


def test_postgres_is_not_healthy_without_the_databases() -> None:
    """A start that failed while it made the roles is not taken for a whole one at the next start."""
    (_, check) = SERVICES["postgres"]["healthcheck"]["test"]
    roles = (ROOT / "deploy/compose/secrets/postgres/roles").read_text().splitlines()
    assert f"-d {roles[-1].split()[0]} " in check


def test_load_balancer_asks_what_a_copy_can_do_by_itself() -> None:
    """Gateways are checked for liveness, since `/readyz` depends on their upstreams; errors are problem details."""
    text = (ROOT / "deploy/compose/load_balancer/haproxy.cfg").read_text()
    checks = dict(re.findall(r"^backend (\w+)$.*?option httpchk GET (\S+)", text, re.MULTILINE | re.DOTALL))
    assert checks == {"gateways": "/healthz", "notifiers": "/readyz"}
    errors = re.findall(r"http-error status (\d+) content-type application/problem\+json", text)
    assert {"400", "408", "500", "502", "503", "504"} <= set(errors)


def test_text_is_checked_out_as_it_is_committed() -> None:
    """With any setting of core.autocrlf, scripts and secrets keep the line ends that Linux containers need."""
    lines = (ROOT / ".gitattributes").read_text().splitlines()
    assert [line for line in lines if line.startswith("* ")] == ["* text=auto eol=lf"]
