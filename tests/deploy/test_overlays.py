"""What `kubectl apply -k` would send: valid, restricted, and complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.manifests import DEV, PRODUCTION, Document, built, check, workloads

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.parametrize("overlay", [DEV, PRODUCTION], ids=["dev", "production"]),
]

# The oldest Kubernetes for which this is written, and one of now.
VERSIONS = ["1.31", "1.34"]
# Defined by what is installed into the cluster, not by Kubernetes.
FOREIGN = {"RabbitmqCluster"}


def pods(overlay: Path) -> Iterator[tuple[str, Document]]:
    """Every pod that we define: (name of whatever runs it, its specification)."""
    for each in built(overlay):
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def ours(overlay: Path) -> Iterator[tuple[str, Document, Document]]:
    for name, pod in pods(overlay):
        for container in pod["containers"]:
            if container["name"] == "shop":
                yield name, pod, container


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_is_valid(overlay: Path, version: str) -> None:
    """Every object has fields of Kubernetes' schema, and no others."""
    for each in built(overlay):
        if each["kind"] not in FOREIGN:
            check(each, version)
    assert {"Deployment", "StatefulSet", "Job", "Ingress", "NetworkPolicy"} <= {each["kind"] for each in built(overlay)}


def test_pods_are_restricted(overlay: Path) -> None:
    """All pods fit the Pod Security Standard that their namespace enforces, "restricted", and write nowhere else."""
    (namespace,) = (each for each in built(overlay) if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pods(overlay):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        for volume in pod.get("volumes", ()):
            assert volume.keys() - {"name"} <= {"emptyDir", "secret", "configMap"}, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert {"requests", "limits"} <= container["resources"].keys(), name


def test_every_process_has_what_all_have(overlay: Path) -> None:
    """The component has reached every pod of ours: user, settings, no variables of Services, a place for /tmp."""
    (settings,) = (each for each in built(overlay) if each["kind"] == "ConfigMap" and "SHOP_ENV" in each["data"])
    seen = set()
    for name, pod, container in ours(overlay):
        seen.add(name)
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["enableServiceLinks"] is False, name
        assert pod["automountServiceAccountToken"] is False, name
        assert container["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}], name
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], name  # noqa: S108 - in the pod
    assert {each.name for each in workloads(overlay).values()} <= seen


def test_probes_still_ask_what_they_asked(overlay: Path) -> None:
    """The component adds the probes' timing to what each process says of them, and copies are spread."""
    for each in workloads(overlay).values():
        (pod, container), *_ = ((pod, container) for name, pod, container in ours(overlay) if name == each.name)
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert each.container[kind].items() <= container[kind].items(), each.name
            assert container[kind]["periodSeconds"], each.name
        assert {way["topologyKey"] for way in pod["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }


def test_secrets_are_only_development_s(overlay: Path) -> None:
    """Production commits no secret; development has each that is mounted, by its name with a hash."""
    there = {each["metadata"]["name"] for each in built(overlay) if each["kind"] == "Secret"}
    mounted = {
        volume["secret"]["secretName"]
        for _, pod in pods(overlay)
        for volume in pod.get("volumes", ())
        if "secret" in volume
    }
    if overlay == PRODUCTION:
        assert there == set()
    else:
        assert mounted <= there


def test_images_are_of_a_version(overlay: Path) -> None:
    """No image is whatever is newest, which a kubelet would always pull; one that the node has is used."""
    for name, pod in pods(overlay):
        for container in pod["containers"]:
            image = container["image"]
            assert ":" in image.rpartition("/")[2], (name, image)
            assert not image.endswith(":latest"), (name, image)
            assert container.get("imagePullPolicy") != "Always", (name, image)


def test_doors_are_three(overlay: Path) -> None:
    """HTTP, WebSocket and webhooks have an Ingress on one host; nothing else has one."""
    found = {each["metadata"]["name"]: each["spec"] for each in built(overlay) if each["kind"] == "Ingress"}
    paths = {
        path["path"]: (path["backend"]["service"]["name"], spec["rules"][0]["host"])
        for spec in found.values()
        for path in spec["rules"][0]["http"]["paths"]
    }
    (host,) = {host for _, host in paths.values()}
    assert paths == {"/": ("gateway", host), "/notifications": ("notifier", host), "/webhooks": ("webhooks", host)}
    assert all("tls" in spec for spec in found.values()) == (overlay == PRODUCTION)
