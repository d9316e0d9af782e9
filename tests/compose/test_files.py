"""What docker-compose.yml and the files beside it promise, read without an engine."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from aio_pika import ExchangeType

from chassis.broker.port import Topology
from chassis.broker.rabbitmq.topology import Names, declare
from chassis.broker.retention import Retention
from chassis.settings import TOPOLOGY
from deploy.compose import provision
from deploy.compose.rabbitmq.definitions import USERS
from shop.process_table import TABLE
from tests.compose.stack import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DEFAULT = {name: service for name, service in SERVICES.items() if "profiles" not in service}
SECRETS = ROOT / "deploy/compose/secrets"
DEFINITIONS = json.loads((SECRETS / "rabbitmq/definitions.json").read_text())


def mebibytes(service: dict[str, Any]) -> int:
    memory: str = service["deploy"]["resources"]["limits"]["memory"]
    return int(memory.removesuffix("M"))


def test_every_process_is_a_service() -> None:
    """Each process of the table runs in a container of its own, from the one image."""
    for spec in TABLE:
        assert DEFAULT[spec.name]["command"] == ["run", spec.name]
        assert DEFAULT[spec.name]["image"] == "polyglot-shop:${SHOP_VERSION:-dev}"
    assert DEFAULT.keys() == {spec.name for spec in TABLE} | {"rabbitmq", "postgres", "redis"}


def test_all_of_it_fits_into_a_laptop() -> None:
    """Every service has a limit, and those of the default profile together stay below 2.875 GiB."""
    assert all(mebibytes(service) for service in SERVICES.values())
    assert sum(map(mebibytes, DEFAULT.values())) < 2944


def test_every_service_comes_back_and_gets_time_to_end() -> None:
    """Whatever dies is started again, and whatever is stopped may finish what it does."""
    for name, service in DEFAULT.items():
        assert service["restart"] == "unless-stopped", name
        assert "stop_grace_period" in service or name == "redis", name


def test_only_the_edge_is_published_and_only_here() -> None:
    """Four services have a port on the host, on its loopback interface by default."""
    published = {name: service["ports"] for name, service in DEFAULT.items() if "ports" in service}
    assert published.keys() == {"gateway", "notifier", "webhooks", "console"}
    for service in SERVICES.values():
        assert all(port.startswith("${SHOP_BIND:-127.0.0.1}:") for port in service.get("ports", ()))


def test_no_secret_is_in_an_environment() -> None:
    """Secrets are files: no setting that holds one is in the compose file (PostgreSQL's goes as soon as it came)."""
    for name, service in SERVICES.items():
        settings = service.get("environment", {}).keys()
        secret = {
            each for each in settings if re.search("SECRET|PASSWORD|BROKER_URL|DATABASE_URL|RATE_LIMIT_URL", each)
        }
        assert {each for each in secret if not each.endswith("_FILE")} <= {"POSTGRES_PASSWORD"}, name


def test_development_secrets_are_what_provisioning_makes() -> None:
    """The committed files are those of `provision.py`, with public passwords, and every secret names one of them."""
    expected = provision.files(provision.development)
    found = {str(path.relative_to(SECRETS)): path.read_text() for path in SECRETS.glob("*/*")}
    assert found == expected
    named = {secret["file"].rpartition("secrets}/")[2] for secret in COMPOSE["secrets"].values()}
    assert named == expected.keys() - {"rabbitmq/definitions.json"}


def test_provisioned_secrets_are_random() -> None:
    """Without `--development` no two deployments share a secret, and no secret is used for two things."""
    one, other = (provision.files(provision.random({})) for _ in range(2))
    assert all(one[path] != other[path] for path in one)
    urls = [content for path, content in one.items() if path.endswith("_url")]
    assert len(set(urls)) == len(urls)


class RecordingChannel:
    """A fake: remembers what is declared on it, as RabbitMQ's definitions would say it."""

    def __init__(self) -> None:
        self.exchanges: set[tuple[str, str]] = set()
        self.queues: dict[str, dict[str, Any]] = {}
        self.bindings: set[tuple[str, str, str]] = set()

    async def declare_exchange(self, name: str, kind: ExchangeType, *, durable: bool) -> str:
        assert durable
        self.exchanges.add((name, kind.value))
        return name

    async def declare_queue(self, name: str, *, durable: bool, arguments: dict[str, Any]) -> RecordedQueue:
        assert durable
        self.queues[name] = arguments
        return RecordedQueue(self, name)


class RecordedQueue:
    def __init__(self, channel: RecordingChannel, name: str) -> None:
        self._channel = channel
        self._name = name

    async def bind(self, exchange: str, key: str) -> None:
        self._channel.bindings.add((exchange, self._name, key))


async def test_definitions_are_what_the_adapter_would_declare() -> None:
    """The broker's definitions hold the topology that the processes count on: exchange, queues, arguments, bindings."""
    channel = RecordingChannel()
    await declare(channel, Names("", Topology.load(TOPOLOGY)), Retention())  # type: ignore[arg-type]
    assert {(each["name"], each["type"]) for each in DEFINITIONS["exchanges"]} == channel.exchanges
    assert {each["name"]: each["arguments"] for each in DEFINITIONS["queues"]} == channel.queues
    bindings = {(each["source"], each["destination"], each["routing_key"]) for each in DEFINITIONS["bindings"]}
    assert bindings == channel.bindings


def test_no_process_may_declare_and_every_role_has_its_user() -> None:
    """No user may configure anything, or publish another's topic; each queue has one that consumes it."""
    assert {each["configure"] for each in DEFINITIONS["permissions"]} == {"^$"}
    topics = {each["user"]: each["write"] for each in DEFINITIONS["topic_permissions"]}
    publishing = {each["user"] for each in DEFINITIONS["permissions"] if "shop" in each["write"]}
    assert topics.keys() == publishing
    worked_off = [queue for name, user in USERS.items() if name != "operator" for queue in user.consumes]
    assert sorted(worked_off) == sorted(Topology.load(TOPOLOGY).queues)
