"""The components that an overlay may name: the Gateway API in place of Ingresses, and monitoring."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.deploy.manifests import BASE, DEV, KUBERNETES, Document, built, pick, read

pytestmark = pytest.mark.kubectl


def with_component(name: str, folder: Path) -> list[Document]:
    """The development overlay with a component, as an operator's own overlay would name both."""
    overlay, component = (os.path.relpath(path, folder) for path in (DEV, KUBERNETES / "components" / name))
    kustomization = f"resources: [{overlay}]\ncomponents: [{component}]\nnamespace: polyglot-shop\n"
    (folder / "kustomization.yaml").write_text(kustomization)
    return built(folder)


def test_routes_are_those_of_the_ingresses(tmp_path: Path) -> None:
    """With the Gateway API no Ingress is left, and each path leads to the Service and port that it led to."""
    found = with_component("gateway-api", tmp_path)
    assert pick(found, "Ingress") == {}
    assert pick(found, "Gateway").keys() == {"shop"}
    services = pick(found, "Service")
    wanted = {
        path["path"]: path["backend"]["service"]["name"]
        for name in ("gateway", "notifier", "webhooks")
        for ingress in pick(read(BASE / f"{name}.yaml"), "Ingress").values()
        for path in ingress["spec"]["rules"][0]["http"]["paths"]
    }
    routes = {}
    for route in pick(found, "HTTPRoute").values():
        (rule,) = route["spec"]["rules"]
        (backend,) = rule["backendRefs"]
        assert backend["port"] in {port["port"] for port in services[backend["name"]]["spec"]["ports"]}
        routes[rule["matches"][0]["path"]["value"]] = backend["name"]
    assert routes == wanted


def test_prometheus_finds_every_process_with_metrics(tmp_path: Path) -> None:
    """Each monitor's pods are there, have the port that it names, and let the monitoring namespace in at it."""
    found = with_component("monitoring", tmp_path)
    pods = {**pick(found, "Deployment"), **pick(found, "StatefulSet")}
    (policy,) = (each for name, each in pick(found, "NetworkPolicy").items() if name == "metrics")
    opened = {port["port"] for port in policy["spec"]["ingress"][0]["ports"]}
    for monitor in pick(found, "PodMonitor").values():
        (selected,) = monitor["spec"]["selector"]["matchExpressions"]
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        for name in selected["values"]:
            ports = pods[name]["spec"]["template"]["spec"]["containers"][0]["ports"]
            (number,) = (port["containerPort"] for port in ports if port["name"] == endpoint["port"])
            assert number in opened, name
    (settings,) = (each["data"] for each in pick(found, "ConfigMap").values() if "SHOP_ENV" in each["data"])
    assert settings["SHOP_METRICS_PORT"] == "9464"
