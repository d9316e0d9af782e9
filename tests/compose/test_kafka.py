"""What docker-compose.yml promises of the profile `kafka`, read without an engine."""

from __future__ import annotations

from itertools import pairwise

from chassis.broker.kafka.address import PARTITIONS, Address
from chassis.broker.kafka.topic import configuration
from chassis.broker.retention import Retention
from tests.compose.stack import ROOT
from tests.compose.test_files import COMPOSE, DEFAULT, SERVICES, mebibytes
from tests.deploy.manifests import variables

KAFKA, TOPIC = SERVICES["kafka"], SERVICES["kafka_topic"]
ENV = variables(ROOT / "deploy/compose/kafka/env")
ADDRESS = Address.parse(ENV["SHOP_EVENT_LOG_URL"])


def test_one_file_switches_the_log_for_all() -> None:
    """The file starts the profile and names its topic; each process with a broker is given the one variable."""
    assert ENV["COMPOSE_PROFILES"] == "kafka"
    assert ADDRESS.servers == "kafka:9092"
    assert KAFKA["profiles"] == TOPIC["profiles"] == ["kafka"]
    with_broker = {name for name, each in SERVICES.items() if "SHOP_BROKER_URL_FILE" in each.get("environment", {})}
    told = {name for name, each in SERVICES.items() if "SHOP_EVENT_LOG_URL" in each.get("environment", {})}
    assert told == with_broker
    assert {SERVICES[name]["environment"]["SHOP_EVENT_LOG_URL"] for name in told} == {"${SHOP_EVENT_LOG_URL:-}"}


def test_the_topic_is_made_as_the_adapter_would() -> None:
    """Its partitions, retention and sizes are those that a process would make it with, on one broker."""
    words = TOPIC["entrypoint"]
    options = dict(pairwise(words))
    made = dict(value.split("=") for option, value in pairwise(words) if option == "--config")
    assert ADDRESS.declared
    assert (options["--topic"], options["--bootstrap-server"]) == (ADDRESS.topic, ADDRESS.servers)
    assert (int(options["--partitions"]), int(options["--replication-factor"])) == (PARTITIONS, 1)
    assert made == configuration(Retention(), PARTITIONS, 1)


def test_processes_wait_for_the_topic_where_it_is_made() -> None:
    """What connects to the broker starts after the topic was made; without the profile it waits for none."""
    for name, service in DEFAULT.items():
        if "SHOP_EVENT_LOG_URL" in service.get("environment", {}):
            wanted = {"condition": "service_completed_successfully", "required": False}
            assert service["depends_on"]["kafka_topic"] == wanted, name
    assert TOPIC["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert TOPIC["restart"] == "on-failure"


def test_kafka_is_one_bounded_node_inside() -> None:
    """KRaft without a ZooKeeper, on the inner network only, with a volume, a check, and more memory than its heap."""
    told = KAFKA["environment"]
    assert told["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert told["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{ADDRESS.servers}"
    assert told["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert KAFKA["networks"] == TOPIC["networks"] == ["internal"]
    assert "ports" not in KAFKA
    assert KAFKA["volumes"] == [f"kafka:{told['KAFKA_LOG_DIRS']}"]
    assert "kafka" in COMPOSE["volumes"]
    assert KAFKA["healthcheck"]["test"]
    assert KAFKA["ulimits"]["nofile"]["hard"] <= 65536
    assert mebibytes(KAFKA) >= 2 * 256
    assert told["KAFKA_HEAP_OPTS"] == "-Xms256m -Xmx256m"
    assert KAFKA["image"] == TOPIC["image"]
