"""The NetworkPolicies equal the picture's arrows: read from the YAML, at both ends of each."""

from __future__ import annotations

import runpy
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shop.process_table import TABLE
from tests.deploy.manifests import BASE, DEV, KUBERNETES, PRODUCTION, ROOT, Document, read, shared, workloads

ARCHITECTURE = tomllib.loads((ROOT / "docs/architecture.toml").read_text())
THEIRS = {"legacy_soap", "payment_provider", "smtp_sink"}
STORES = {"postgres": 5432, "redis": 6379}
NAME = "app.kubernetes.io/name"
# Beyond the picture: what resolves names, RabbitMQ's nodes among themselves, and the rule that forbids the rest.
PLUMBING = {"nothing", "names", "broker-nodes"}

# From, to, port.
Flow = tuple[str, str, int]


def arrows() -> Iterator[Flow]:
    """The connections in the picture; a caller through the Ingress is "outside", as is a far one."""
    for arrow in ARCHITECTURE["arrows"]:
        source, target = arrow["from"], arrow["to"]
        if arrow.get("opened_by") == target:
            source, target = target, source
        yield place(source), place(target), port(target, arrow["protocol"])
    for process in ARCHITECTURE["processes"]:
        if "database" in process:
            yield process["name"], "postgres", 5432
            yield "migrations", "postgres", 5432
        if process.get("counts") == "redis":
            yield process["name"], "redis", 6379


def place(name: str) -> str:
    return "outside" if name in ("client", "partners") else name


def port(target: str, protocol: str) -> int:
    match target, protocol:
        case "broker", _:
            return 5672
        case "partners", _:
            return 443
        case "smtp_sink", "HTTP":
            return 8026
    return next(spec.ports[0].default for spec in TABLE if spec.name == target)


def allowed(policies: Iterable[Document], way: str) -> set[Flow]:
    """What policies let in ("ingress") or out ("egress"). Fails for a rule that is open to every address or port."""
    found = set()
    for policy in policies:
        spec = policy["spec"]
        (selected,) = named(spec["podSelector"])
        for rule in spec.get(way, ()):
            assert rule["ports"], policy["metadata"]["name"]
            for peer in rule["from" if way == "ingress" else "to"]:
                for other in peer_names(peer):
                    ends = (other, selected) if way == "ingress" else (selected, other)
                    found |= {(*ends, each["port"]) for each in rule["ports"]}
    return found


def named(selector: Document) -> list[str]:
    """The pods that a selector selects, by the picture's names."""
    ((key, values),) = selector.items()
    if key == "matchLabels":
        assert values.keys() == {NAME}
        return [values[NAME].replace("-", "_")]
    (expression,) = values
    assert (expression["key"], expression["operator"]) == (NAME, "In")
    return [value.replace("-", "_") for value in expression["values"]]


def namespaces(*names: str) -> Document:
    """The selector of the namespaces with these names."""
    return {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(names)}]}


def peer_names(peer: Document) -> list[str]:
    if "podSelector" in peer:
        assert peer.keys() == {"podSelector"}, "pods of this namespace only"
        return named(peer["podSelector"])
    if "namespaceSelector" in peer:
        assert peer["namespaceSelector"] == namespaces("envoy-gateway-system", "ingress-nginx")
        return ["outside"]
    block = peer["ipBlock"]
    if block["cidr"] == "0.0.0.0/0":
        assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= set(block["except"])
        return ["outside"]
    return [block["cidr"]]


def policies(*folders: Path) -> list[Document]:
    every = [policy for folder in folders for policy in read(folder / "network-policies.yaml")]
    assert {policy["kind"] for policy in every} == {"NetworkPolicy"}
    names = [policy["metadata"]["name"] for policy in every]
    assert len(set(names)) == len(names)
    return [policy for policy in every if policy["metadata"]["name"] not in PLUMBING]


def test_files_are_up_to_date() -> None:
    """`python deploy/kubernetes/policies.py` would write what is there."""
    for path, content in runpy.run_path(str(KUBERNETES / "policies.py"))["files"]().items():
        assert path.read_text() == content, path


def test_nothing_is_allowed_by_default() -> None:
    """Both ways are closed to every pod of the namespace, but for name resolution."""
    plumbing = {each["metadata"]["name"]: each["spec"] for each in read(BASE / "network-policies.yaml")}
    assert plumbing["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (dns,) = plumbing["names"]["egress"]
    ports = {(each["protocol"], each["port"]) for each in dns["ports"]}
    assert ports == {(protocol, port) for protocol in ("UDP", "TCP") for port in (53, 5353)}, "5353: OpenShift's pods"
    pods, node = dns["to"]
    assert pods == {"namespaceSelector": namespaces("kube-system", "openshift-dns")}
    assert node == {"ipBlock": {"cidr": "169.254.20.10/32"}}, "NodeLocal DNSCache"
    assert plumbing["names"]["policyTypes"] == ["Egress"]
    assert named(plumbing["broker-nodes"]["podSelector"]) == ["broker"]


def test_development_allows_exactly_the_arrows() -> None:
    """At both ends of each arrow, and nowhere else, the development cluster is open."""
    found, wanted = policies(BASE, DEV), set(arrows())
    assert allowed(found, "ingress") == {flow for flow in wanted if flow[1] != "outside"}
    assert allowed(found, "egress") == {flow for flow in wanted if flow[0] != "outside"}


def test_production_allows_exactly_the_arrows() -> None:
    """As in development, with other people's systems outside: ours reach them, and they come in as clients do."""
    found = policies(BASE, PRODUCTION)
    inside = {flow for flow in arrows() if not {flow[0], flow[1]} & {*THEIRS, *STORES}}
    out = {(source, target) for source, target, _ in arrows() if target in {*THEIRS, *STORES}}
    ours = {(source, target) for source, target in out if source not in THEIRS | {"operator"}}
    assert allowed(found, "ingress") == {flow for flow in inside if flow[1] != "outside"}
    ways = runpy.run_path(str(KUBERNETES / "policies.py"))["OUTSIDE"]
    assert allowed(found, "egress") == {flow for flow in inside if flow[0] != "outside"} | {
        (source, *ways[target]) for source, target in ours
    }


@pytest.mark.parametrize(
    ("target", "process", "setting"),
    [
        ("legacy_soap", "erp_adapter", "SHOP_LEGACY_SOAP_URL"),
        ("payment_provider", "order_worker", "SHOP_PAYMENT_URL"),
        ("smtp_sink", "mailer", "SHOP_SMTP_ADDRESS"),
        ("postgres", "orders", "SHOP_DATABASE_URL"),
    ],
)
def test_ways_out_lead_to_the_ports_of_the_settings(target: str, process: str, setting: str) -> None:
    """The port at which production lets a process out is the one at which that process calls."""
    address = {**shared(PRODUCTION), **workloads(PRODUCTION)[process].own}[setting]
    parts = urlsplit(address if "://" in address else f"//{address}")
    called = parts.port or {"https": 443, "http": 80}[parts.scheme]
    assert runpy.run_path(str(KUBERNETES / "policies.py"))["OUTSIDE"][target][1] == called
