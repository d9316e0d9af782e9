"""The component `kafka`: the event log on a cluster of Strimzi's, which every process that has the broker reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis.broker.kafka.address import PARTITIONS, Address
from chassis.broker.kafka.topic import configuration
from chassis.broker.retention import Retention
from tests.deploy.manifests import BASE, DEV, KUBERNETES, ROOT, Document, check, pick, read, workloads
from tests.deploy.test_components import with_component
from tests.deploy.test_policies import allowed, policies

FOLDER = KUBERNETES / "components/kafka"
MADE = read(FOLDER / "kafka.yaml")
FOREIGN = {"RabbitmqCluster", "Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser"}
STRIMZI = {"kafka_nodes", "entity_operator"}


def only(kind: str) -> Document:
    """The one object of a kind."""
    (found,) = pick(MADE, kind).values()
    return found


def documented() -> Address:
    """The address in the page's example of the Secret."""
    page = (ROOT / "docs/kubernetes.md").read_text()
    return Address.parse(page[page.index("kafkas://") :].partition("`")[0].replace("PASSWORD", "secret"))


def test_the_topic_is_made_as_the_adapter_would() -> None:
    """Partitions, replicas, retention and sizes are those that a process would make it with, on three brokers."""
    topic, pool = only("KafkaTopic"), only("KafkaNodePool")
    replicas = pool["spec"]["replicas"]
    assert (topic["spec"]["partitions"], topic["spec"]["replicas"]) == (PARTITIONS, replicas)
    assert topic["spec"]["config"] == configuration(Retention(), PARTITIONS, replicas)
    assert only("Kafka")["spec"]["kafka"]["config"]["auto.create.topics.enable"] is False


def test_what_the_page_says_fits_what_is_made() -> None:
    """The address for the Secret names the cluster's service and listener, its user, topic and certificate."""
    kafka, topic, user, address = only("Kafka"), only("KafkaTopic"), only("KafkaUser"), documented()
    (listener,) = kafka["spec"]["kafka"]["listeners"]
    cluster = kafka["metadata"]["name"]
    assert address.servers == f"{cluster}-kafka-bootstrap:{listener['port']}"
    assert (address.topic, address.user) == (topic["metadata"]["name"], user["metadata"]["name"])
    assert (address.tls, address.mechanism) == (listener["tls"], listener["authentication"]["type"].upper())
    assert address.declared
    assert {each["metadata"]["labels"]["strimzi.io/cluster"] for each in (topic, user, only("KafkaNodePool"))} == {
        cluster
    }
    assert user["spec"]["authentication"]["password"]["valueFrom"]["secretKeyRef"]["name"] == "event-log"
    assert address.ca == "/run/secrets/event-log-ca/ca.crt"


def test_the_user_may_use_the_topic_and_no_other() -> None:
    """It reads and writes one topic, of which it cannot change anything."""
    of_topics = [
        acl for acl in only("KafkaUser")["spec"]["authorization"]["acls"] if acl["resource"]["type"] == "topic"
    ]
    (acl,) = of_topics
    assert (acl["resource"]["name"], acl["resource"]["patternType"]) == ("shop.events", "literal")
    assert set(acl["operations"]) == {"Read", "Write", "Describe"}


def test_a_process_with_the_broker_reaches_the_log() -> None:
    """Beside each arrow to the broker there is one to Kafka, allowed at both ends; Strimzi's pods have their own."""
    wanted = {(source, "kafka", 9093) for source, target, _ in allowed(policies(BASE), "egress") if target == "broker"}
    found = [each for each in policies(FOLDER) if each["metadata"]["name"].replace("-", "_") not in STRIMZI]
    assert allowed(found, "egress") == allowed(found, "ingress") == wanted


@pytest.mark.kubectl
class TestBuilt:
    def test_it_is_valid(self, tmp_path: Path) -> None:
        """With the component, every object of Kubernetes' own has fields of its schema, and no others."""
        for each in with_component("kafka", tmp_path):
            if each["kind"] not in FOREIGN:
                check(each, "1.34")

    def test_every_process_with_a_broker_has_the_log(self, tmp_path: Path) -> None:
        """Each is given the address and the certificate as files, and no other process is."""
        found = with_component("kafka", tmp_path)
        deployed = {**pick(found, "Deployment"), **pick(found, "StatefulSet")}
        with_broker = {each.name for each in workloads(DEV).values() if "SHOP_BROKER_URL" in each.secrets}
        told = set()
        for name, each in deployed.items():
            pod = each["spec"]["template"]["spec"]
            container = pod["containers"][0]
            files = {one["value"] for one in container.get("env", ()) if one["name"] == "SHOP_EVENT_LOG_URL_FILE"}
            if not files:
                continue
            told.add(name)
            mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
            secrets = {one["name"]: one["secret"] for one in pod["volumes"] if "secret" in one}
            assert files == {f"{mounts['event-log']}/SHOP_EVENT_LOG_URL"}
            assert f"{mounts['event-log-ca']}/ca.crt" == documented().ca
            assert secrets["event-log"]["secretName"] == "event-log"
            assert secrets["event-log-ca"]["secretName"] == f"{only('Kafka')['metadata']['name']}-cluster-ca-cert"
        assert told == with_broker
