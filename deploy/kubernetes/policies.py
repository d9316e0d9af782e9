"""Writes the NetworkPolicies: `python deploy/kubernetes/policies.py`.

Who may open a connection to whom is what the picture shows, docs/architecture.toml, and nothing else: each arrow is a
rule at both of its ends. The base has the arrows among our own processes and the broker; an overlay those to what is
elsewhere: in pods of the development cluster, at addresses outside in production. The component `kafka` has an arrow to
Kafka beside each to the broker: a process with the broker has the event log, wherever that is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from shop.process_table import TABLE

HERE = Path(__file__).parent
ARCHITECTURE = HERE.parents[1] / "docs/architecture.toml"
HEAD = "# Made by deploy/kubernetes/policies.py from docs/architecture.toml.\n"

# The namespaces of what lets in clients without a pod: an Ingress controller, or that of a Gateway (Envoy's here).
INGRESS = ["envoy-gateway-system", "ingress-nginx"]
CLIENTS = {"client", "partners"}
# What is elsewhere in production, and where it is there: RFC 5737's example addresses stand for yours.
OUTSIDE = {
    "legacy_soap": ("192.0.2.10/32", 443),
    "payment_provider": ("192.0.2.20/32", 443),
    "smtp_sink": ("192.0.2.30/32", 587),
    "postgres": ("192.0.2.40/32", 5432),
    "redis": ("192.0.2.50/32", 6379),
}
# Of Strimzi's pods, by their `app.kubernetes.io/name`, and where its operator runs.
KAFKA, KAFKA_CLIENTS, ENTITY_OPERATOR, STRIMZI = "kafka", 9093, "entity-operator", "strimzi"
STORES = {"broker": 5672, "postgres": 5432, "redis": 6379}
# Outgoing webhooks go to registered endpoints, by HTTPS, and never into a private network.
ANYWHERE = {
    "cidr": "0.0.0.0/0",
    "except": ["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"],
}

Policy = dict[str, Any]


@dataclass(frozen=True, order=True, slots=True)
class Flow:
    """The connections between processes, by the picture's names, and their ports."""

    source: str
    target: str
    port: int


def flows(architecture: dict[str, Any]) -> set[Flow]:
    """Every connection of the picture; the databases and Redis with them, which it shows at the processes."""
    found = set()
    for arrow in architecture["arrows"]:
        ends = [arrow["from"], arrow["to"]]
        source = arrow.get("opened_by", ends[0])
        target = ends[1] if source == ends[0] else ends[0]
        found.add(Flow(source, target, _port(target, arrow["protocol"])))
    for process in architecture["processes"]:
        if "database" in process:
            found |= {Flow(name, "postgres", STORES["postgres"]) for name in (process["name"], "migrations")}
        if "counts" in process:
            found.add(Flow(process["name"], "redis", STORES["redis"]))
    return found


def _port(target: str, protocol: str) -> int:
    if target in STORES:
        return STORES[target]
    if target == "partners":
        return 443
    ports = next(spec.ports for spec in TABLE if spec.name == target)
    # The mailbox of the development's mail server is looked into at its second port.
    return ports[1 if target == "smtp_sink" and protocol == "HTTP" else 0].default


def base(found: Iterable[Flow]) -> list[Policy]:
    """Policies of every overlay: nothing but DNS, then the arrows inside."""
    inside = [flow for flow in found if not {flow.source, flow.target} & OUTSIDE.keys()]
    return [_nothing(), _names(), *_policies(inside, ""), _broker_nodes()]


def development(found: Iterable[Flow]) -> list[Policy]:
    """The arrows from and to what runs in pods only there."""
    return list(_policies([flow for flow in found if {flow.source, flow.target} & OUTSIDE.keys()], "-elsewhere"))


def production(found: Iterable[Flow]) -> list[Policy]:
    """The ways of our processes out of the cluster. What is out there comes in as every partner does."""
    rules: dict[str, list[Policy]] = {}
    for flow in sorted(found):
        if flow.target not in OUTSIDE or flow.source in {*OUTSIDE, "operator"}:
            continue
        cidr, port = OUTSIDE[flow.target]
        rules.setdefault(flow.source, []).append({"to": [{"ipBlock": {"cidr": cidr}}], "ports": [_tcp(port)]})
    return [_policy(f"{_pod(name)}-elsewhere", _is([name]), egress=egress) for name, egress in rules.items()]


def kafka(found: Iterable[Flow]) -> list[Policy]:
    """The arrows to the event log where it is on Kafka, and what Strimzi's pods need among themselves."""
    clients = sorted({flow.source for flow in found if flow.target == "broker"})
    nodes, entities = {"podSelector": _is([KAFKA])}, {"podSelector": _is([ENTITY_OPERATOR])}
    operator = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": STRIMZI}}}
    control, replication, agent = _tcp(9090), _tcp(9091), _tcp(8443)
    return [
        *_policies([Flow(name, KAFKA, KAFKA_CLIENTS) for name in clients], "-event-log"),
        _policy(
            "kafka-nodes",
            _is([KAFKA]),
            ingress=[
                {"from": [nodes, operator], "ports": [control, replication]},
                {"from": [entities], "ports": [replication]},
                {"from": [operator], "ports": [agent]},
            ],
            egress=[{"to": [nodes], "ports": [control, replication]}],
        ),
        # It carries out KafkaTopic and KafkaUser, which the API server sends to it.
        _policy(
            "entity-operator",
            _is([ENTITY_OPERATOR]),
            egress=[{"to": [nodes], "ports": [replication]}, {"ports": [_tcp(443), _tcp(6443)]}],
        ),
    ]


def _policies(found: Iterable[Flow], suffix: str) -> Iterator[Policy]:
    found = sorted(found)
    for name in sorted({end for flow in found for end in (flow.source, flow.target)} - CLIENTS):
        ingress = [flow for flow in found if flow.target == name]
        egress = [flow for flow in found if flow.source == name]
        yield _policy(
            f"{_pod(name)}{suffix}",
            _is([name]),
            ingress=[
                {"from": list(_sources(port, ingress)), "ports": [_tcp(port)]}
                for port in sorted({flow.port for flow in ingress})
            ],
            egress=[{"to": [_target(flow.target)], "ports": [_tcp(flow.port)]} for flow in egress],
        )


def _sources(port: int, ingress: Iterable[Flow]) -> Iterator[Policy]:
    names = [flow.source for flow in ingress if flow.port == port]
    if pods := [name for name in names if name not in CLIENTS]:
        yield {"podSelector": _is(pods)}
    if len(pods) < len(names):
        yield {"namespaceSelector": _namespaces(INGRESS)}


def _target(name: str) -> Policy:
    return {"ipBlock": ANYWHERE} if name in CLIENTS else {"podSelector": _is([name])}


def _nothing() -> Policy:
    policy = _policy("nothing", {}, ingress=[], egress=[])
    return {**policy, "spec": {**policy["spec"], "policyTypes": ["Ingress", "Egress"]}}


def _names() -> Policy:
    """DNS servers: in pods (OpenShift's listen at 5353), or at NodeLocal DNSCache's address on a node."""
    pods = {"namespaceSelector": _namespaces(["kube-system", "openshift-dns"])}
    node = {"ipBlock": {"cidr": "169.254.20.10/32"}}
    ports = [{"protocol": protocol, "port": port} for port in (53, 5353) for protocol in ("UDP", "TCP")]
    return _policy("names", {}, egress=[{"to": [pods, node], "ports": ports}])


def _namespaces(names: list[str]) -> Policy:
    return {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": names}]}


def _broker_nodes() -> Policy:
    """RabbitMQ's nodes among themselves, to the API server, which lists the nodes, and their operator."""
    among = [_tcp(4369), {**_tcp(6000), "endPort": 6500}, _tcp(25672), {**_tcp(35672), "endPort": 35682}]
    nodes = {"podSelector": _is(["broker"])}
    operator = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "rabbitmq-system"}}}
    return _policy(
        "broker-nodes",
        _is(["broker"]),
        ingress=[{"from": [nodes], "ports": among}, {"from": [operator], "ports": [_tcp(15672)]}],
        egress=[{"to": [nodes], "ports": among}, {"ports": [_tcp(443), _tcp(6443)]}],
    )


def _policy(name: str, pods: Policy, **rules: list[Policy]) -> Policy:
    rules = {way: each for way, each in rules.items() if each}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": pods, "policyTypes": [way.capitalize() for way in rules], **rules},
    }


def _is(names: list[str]) -> Policy:
    pods = [_pod(name) for name in names]
    if len(pods) == 1:
        return {"matchLabels": {"app.kubernetes.io/name": pods[0]}}
    return {"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "In", "values": pods}]}


def _pod(name: str) -> str:
    return name.replace("_", "-")


def _tcp(port: int) -> Policy:
    return {"protocol": "TCP", "port": port}


def files() -> dict[Path, str]:
    """Every file that this makes, and what belongs into it."""
    found = flows(tomllib.loads(ARCHITECTURE.read_text()))
    made = {
        HERE / "base/network-policies.yaml": base(found),
        HERE / "components/kafka/network-policies.yaml": kafka(found),
        HERE / "overlays/dev/network-policies.yaml": development(found),
        HERE / "overlays/production/network-policies.yaml": production(found),
    }
    return {path: HEAD + _yaml(policies) for path, policies in made.items()}


def _yaml(policies: list[Policy]) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's shape
            return True

    return yaml.dump_all(policies, Dumper=Plain, sort_keys=False, default_flow_style=None, width=120)


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content)
