"""The manifests as they are written, put together only as far as tests need it; and as kubectl builds them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from kubernetes_validate import utils

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
BASE, DEV, PRODUCTION = KUBERNETES / "base", KUBERNETES / "overlays/dev", KUBERNETES / "overlays/production"
SECRETS = "/run/secrets/shop/"

Document = dict[str, Any]


# Ten times as fast as the loader in Python, where it is there.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# A third of a second for each object, if the definitions were read again for each.
utils.schema_contents = cache(utils.schema_contents)


def check(document: Document, version: str) -> None:
    """Refuse fields that this version of Kubernetes does not have. Raises `kubernetes_validate.ValidationError`."""
    kubernetes_validate.validate(document, version, strict=True)


@cache
def read(path: Path) -> list[Document]:
    """The documents of a file, which no test changes."""
    return list(yaml.load_all(path.read_text(), _LOADER))


def documents(folder: Path) -> Iterator[Document]:
    """What a kustomization lists, unpatched, and what those that it lists do."""
    for name in read(folder / "kustomization.yaml")[0]["resources"]:
        if (folder / name).is_dir():
            yield from documents((folder / name).resolve())
        else:
            yield from read(folder / name)


def pick(found: list[Document], kind: str) -> dict[str, Document]:
    """Name -> document, of those of this kind."""
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def variables(path: Path) -> dict[str, str]:
    """The variables of an .env file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet: its process, and that one's settings beside the common ones."""

    process: str
    document: Document
    own: Mapping[str, str]

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def container(self) -> Document:
        found: Document = self.document["spec"]["template"]["spec"]["containers"][0]
        return found

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def secrets(self) -> set[str]:
        """The settings that it reads from files."""
        return {name.removesuffix("_FILE") for name in self.own if name.endswith("_FILE")}


def workloads(overlay: Path) -> dict[str, Workload]:
    """Process -> how an overlay runs it."""
    told = _patched(overlay)
    found = {}
    for document in documents(overlay):
        if document["kind"] not in ("Deployment", "StatefulSet"):
            continue
        container = document["spec"]["template"]["spec"]["containers"][0]
        if container["name"] == "shop":
            command, process = container["args"]
            assert command == "run"
            own = _variables(container) | told.get(document["metadata"]["name"], {})
            found[process] = Workload(process, document, own)
    return found


def _patched(overlay: Path) -> dict[str, dict[str, str]]:
    patches = read(overlay / "elsewhere.yaml")
    return {each["metadata"]["name"]: _variables(each["spec"]["template"]["spec"]["containers"][0]) for each in patches}


def _variables(container: Document) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", ())}


def shared(overlay: Path) -> dict[str, str]:
    """An overlay's settings for every process."""
    return variables(BASE / "shop.env") | variables(overlay / "shop.env")


@cache
def built(overlay: Path) -> list[Document]:
    """What `kubectl apply -k` would send."""
    done = subprocess.run(["kubectl", "kustomize", overlay], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, _LOADER))
