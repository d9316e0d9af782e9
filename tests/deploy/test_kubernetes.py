"""The manifests fit the shop: every process, its ports, its settings, its secrets."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from chassis.settings import ProcessSettings, environment
from shop.commands.processes.migrate import schemas
from shop.process_table import TABLE, ProcessSpec
from tests.deploy.manifests import (
    BASE,
    DEV,
    PRODUCTION,
    ROOT,
    SECRETS,
    Document,
    Workload,
    documents,
    pick,
    read,
    shared,
    variables,
    workloads,
)

OVERLAYS = [pytest.param(DEV, id="dev"), pytest.param(PRODUCTION, id="production")]
ARCHITECTURE = tomllib.loads((ROOT / "docs/architecture.toml").read_text())
SPECS = {spec.name: spec for spec in TABLE}
THEIRS = {each["name"] for each in ARCHITECTURE["processes"] if each["group"] == "outside"}
# Read by `shop run`, before the process reads its own settings.
OF_THE_COMMAND = {"SHOP_KEYRING"}


def everything(overlay: Path) -> list[Document]:
    return list(documents(overlay))


def test_every_process_is_deployed() -> None:
    """Development runs every process of the table; production all of them but other people's systems."""
    assert workloads(DEV).keys() == SPECS.keys()
    assert workloads(PRODUCTION).keys() == SPECS.keys() - THEIRS


@pytest.mark.parametrize("name", SPECS)
def test_ports_are_those_of_the_table(name: str) -> None:
    """A process listens where the table says, and its Service leads there; one without a port has one for health."""
    workload, wanted = workloads(DEV)[name], {port.default for port in SPECS[name].ports}
    services = pick(everything(DEV), "Service")
    if not wanted:
        assert workload.ports == {"health": int(workload.own["SHOP_HEALTH_PORT"])}
        assert workload.name not in services
        return
    assert set(workload.ports.values()) == wanted
    assert workload.ports == {port["name"]: port["port"] for port in services[workload.name]["spec"]["ports"]}
    selected = services[workload.name]["spec"]["selector"]
    assert selected.items() <= workload.document["spec"]["template"]["metadata"]["labels"].items()


def settings_of(spec: ProcessSpec) -> type[ProcessSettings]:
    """The class that the process reads its settings into."""
    module, _, attribute = spec.entry.partition(":")
    run = inspect.unwrap(getattr(import_module(module), attribute))
    (found,) = (each for each in get_args(get_type_hints(run)["settings"]) if each is not type(None))
    return found  # type: ignore[no-any-return]


class Asked(dict[str, str]):
    """An environment that records the names that were read."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return default


def known_to(spec: ProcessSpec) -> set[str]:
    """The variables that mean something to the process."""
    if spec.plain:  # it has its own way to read them
        asked = Asked()
        import_module(spec.entry.partition(":")[0]).Settings.from_environment(asked)
        return asked.names
    return {f"SHOP_{field.upper()}" for field in settings_of(spec).model_fields}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_variables_are_settings(overlay: Path) -> None:
    """Every SHOP_ variable that a process is given is one of its settings: a misspelt one would do nothing, quietly."""
    for workload in workloads(overlay).values():
        given = {name.removesuffix("_FILE") for name in workload.own}
        assert given <= known_to(SPECS[workload.process]), workload.process
    everybodys = {f"SHOP_{field.upper()}" for field in ProcessSettings.model_fields} | OF_THE_COMMAND
    assert {name for name in shared(overlay) if name.startswith("SHOP_")} <= everybodys


@pytest.fixture
def secrets(tmp_path: Path) -> Mapping[str, Path]:
    """Setting -> a file such as would be mounted, for each secret of the development overlay and what comes later."""
    found = {"SHOP_SMTP_PASSWORD": "of the mail server"}
    for path in (DEV / "secrets").iterdir():
        found |= variables(path)
    found["SHOP_LEGACY_SOAP_PASSWORD"] = "not that of the demo account"
    for name, value in found.items():
        (tmp_path / name).write_text(value)
    return {name: tmp_path / name for name in found}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_can_be_read_and_leave_nothing_on_this_machine(overlay: Path, secrets: Mapping[str, Path]) -> None:
    """With what it is given a process starts, and no address is left at its default, which is loopback."""
    for workload in workloads(overlay).values():
        spec = SPECS[workload.process]
        if spec.plain:
            continue
        mounted = {name: str(secrets[Path(path).name]) for name, path in workload.own.items() if name.endswith("_FILE")}
        with environment({**shared(overlay), **workload.own, **mounted}):
            settings = settings_of(spec)()
        left = [
            name for name, value in settings if isinstance(value, str) and re.search(r"localhost|127\.0\.0\.1", value)
        ]
        assert left == [], workload.process
        assert settings.demo() is (overlay == DEV)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_addresses_lead_to_services(overlay: Path) -> None:
    """Whatever address without a dot a process is given is that of a Service, with its port."""
    services = pick(everything(overlay), "Service")
    there = {f"{name}:{port['port']}" for name, service in services.items() for port in service["spec"]["ports"]}
    for workload in workloads(overlay).values():
        for name, value in {**shared(overlay), **workload.own}.items():
            if name.endswith(("_ADDRESS", "_URL")):
                authority = value.partition("://")[2].rpartition("@")[2].partition("/")[0] or value
                assert authority in there or "." in authority, (workload.process, name)


def test_each_process_has_its_own_secrets_and_no_other() -> None:
    """A Secret is mounted by the process of its name, and holds exactly the settings that this one reads from files."""
    for workload in workloads(DEV).values():
        pod = workload.document["spec"]["template"]["spec"]
        mounted = [volume["secret"]["secretName"] for volume in pod.get("volumes", ()) if "secret" in volume]
        assert mounted == ([workload.name] if workload.secrets else []), workload.name
        assert all(
            path == SECRETS + name.removesuffix("_FILE")
            for name, path in workload.own.items()
            if name.endswith("_FILE")
        )
        if mounted:
            assert variables(DEV / f"secrets/{workload.name}.env").keys() == workload.secrets


def test_documentation_names_every_secret_of_production() -> None:
    """docs/kubernetes.md lists each Secret that production needs, with its keys."""
    page = (ROOT / "docs/kubernetes.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \|$", page, re.MULTILINE)
    listed = {name: set(re.findall(r"`(SHOP_\w+)`", keys)) for name, keys in rows if "SHOP_" in keys}
    assert listed == {each.name: each.secrets for each in workloads(PRODUCTION).values() if each.secrets}


def test_development_secrets_are_obviously_that() -> None:
    """No value of the development overlay looks like a secret."""
    marks = re.compile(r"development-only|ZGV2ZWxvcG1lbnQtb25se|^redis://redis|^shop$")
    for path in (DEV / "secrets").iterdir():
        for name, value in variables(path).items():
            assert marks.search(value), (path.name, name)


@pytest.mark.parametrize("name", SPECS)
def test_probes_ask_where_the_process_answers(name: str) -> None:
    """Start-up, readiness and liveness are all probed, at ports that the process has."""
    workload = workloads(DEV)[name]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = workload.container[kind]
        (port,) = (action["port"] for action in probe.values() if isinstance(action, dict))
        assert port in (workload.ports if isinstance(port, str) else workload.ports.values())
    if SPECS[name].entry.startswith("services.") and "grpc" in workload.ports:
        assert "grpc" in workload.container["readinessProbe"]


def test_what_has_copies_can_lose_one() -> None:
    """Every process that may run more than once has a disruption budget; the others have a reason not to."""
    found = everything(BASE)
    budgets, scalers = pick(found, "PodDisruptionBudget"), pick(found, "HorizontalPodAutoscaler")
    for workload in workloads(PRODUCTION).values():
        copies = workload.document["spec"].get("replicas")
        assert (copies is None) == (workload.name in scalers), "either fixed or scaled"
        assert (copies != 1) == (workload.name in budgets), workload.name
        if copies is None:
            assert scalers[workload.name]["spec"]["scaleTargetRef"]["kind"] == workload.document["kind"]
            assert workload.container["resources"]["requests"]["cpu"]
    assert {"gateway", "notifier", "graphql-server", "webhooks", "orders"} <= scalers.keys()


def test_grpc_is_balanced_over_copies() -> None:
    """gRPC keeps its connections: only a headless Service shows a client all copies."""
    for name, service in pick(everything(BASE), "Service").items():
        headless = service["spec"].get("clusterIP") == "None"
        assert headless == any(port["name"] == "grpc" for port in service["spec"]["ports"]), name


def test_every_database_is_migrated_in_its_role() -> None:
    """There is a Job for each database of the picture, with no more than that service's password."""
    databases = {each["database"] for each in ARCHITECTURE["processes"] if "database" in each}
    jobs = {name.removeprefix("migrate-"): each for name, each in pick(read(BASE / "migrations.yaml"), "Job").items()}
    assert jobs.keys() == databases <= schemas().keys()
    for name, job in jobs.items():
        pod = job["spec"]["template"]["spec"]
        assert pod["containers"][0]["args"] == ["migrate", name]
        assert job["spec"]["ttlSecondsAfterFinished"] == 0, "or the next release could not be applied"
        (volume,) = pod["volumes"]
        assert volume["secret"]["secretName"] == name
        assert [item["key"] for item in volume["secret"]["items"]] == ["SHOP_DATABASE_PASSWORD"]
    assert shared(PRODUCTION)["SHOP_MIGRATE"] == "false"
    (listed,) = re.findall(r"^for service in (.*); do$", (DEV / "stores/databases.sh").read_text(), re.MULTILINE)
    assert set(listed.split()) == databases


def test_workloads_select_their_own_pods() -> None:
    """No Service, budget or Deployment reaches another's pods: each goes by its own name, and Jobs have another."""
    for workload in [*workloads(DEV).values()]:
        assert isinstance(workload, Workload)
        labels = {"app.kubernetes.io/name": workload.name}
        assert workload.document["spec"]["selector"]["matchLabels"] == labels
        assert workload.name == workload.process.replace("_", "-")
    for kind in ("Service", "PodDisruptionBudget"):
        for name, each in pick(everything(DEV), kind).items():
            selector = each["spec"]["selector"]
            assert selector.get("matchLabels", selector) == {"app.kubernetes.io/name": name}
