"""The house: modules stand on floors of at most twelve, and none of them go round in circles."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path, PurePosixPath

import grimp
import pytest

ROOT = Path(__file__).parents[2]
MAX_MODULES = 12
_ELSEWHERE = {"tests", "deploy", "docs"}


def packages() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: list[str] = tomllib.load(file)["tool"]["importlinter"]["root_packages"]
    return found


def modules() -> list[PurePosixPath]:
    """The modules of production and of the benchmarks, as files."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [PurePosixPath(line) for line in listed.splitlines()]
    return [path for path in paths if path.parts[0] not in _ELSEWHERE and "migrations" not in path.parts]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not run: needs the git checkout to know the project's files")
def test_a_floor_has_at_most_twelve_modules() -> None:
    """Who opens a package sees at most twelve modules beside `__init__` and `__main__`."""
    floors = Counter(path.parent for path in modules() if path.stem not in ("__init__", "__main__"))
    assert {str(floor): count for floor, count in floors.items() if count > MAX_MODULES} == {}


def test_no_module_imports_itself_by_a_detour() -> None:
    """There is no circle of imports, late ones and those for types alone included."""
    graph = grimp.build_graph(*packages(), "bench")
    circles = sorted(
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if graph.chain_exists(importer=imported, imported=importer)
    )
    assert circles == []


# The files that services have in common, and what they hold. A service has those that it needs, under these names.
SHARED_ROOMS = {
    "__init__.py": "the service in one sentence",
    "__main__.py": "starts the process",
    "bootstrap.py": "the composition root",
    "domain.py": "decisions, pure",
    "ports.py": "the interfaces that the use cases own",
}
# The ERP adapter's API calls its port directly.
_WITHOUT_USE_CASES = {"erp_adapter"}


@pytest.mark.parametrize("service", sorted(path.parent.name for path in (ROOT / "services").glob("*/bootstrap.py")))
def test_services_have_the_same_rooms(service: str) -> None:
    """Every service has the same files for the same purposes, and its tables in `migrations`."""
    found = {path.name for path in (ROOT / "services" / service).iterdir()}
    expected = SHARED_ROOMS.keys() | (set() if service in _WITHOUT_USE_CASES else {"use_cases.py"})
    assert expected - found == set()
    assert ("migrations" in found) == bool(found & {"sql_store", "sql_store.py", "modern_erp.py"})


# Rooms that a service has if it has such a thing, and the code by which it is known.
ROOMS_BY_CONTENT = {
    "grpc_api": r"^class \w+\(\w+Servicer\):",
    "consumer": r"^    async def handle\(self, (event: Event|batch: Batch)\)",
    "clients": r"\b\w+AsyncStub\b",
    "sql_store": r"\bMetaData\(\)",
    "demo": r"^((async )?def (add_)?demo_\w+\(|DEMO_\w+ =)",
}
# The modern ERP is a database behind the port of all ERPs, where others have a client.
_OTHER_ROOMS = {("erp_adapter", "sql_store"): {"modern_erp"}}


@pytest.mark.parametrize("service", sorted(path.parent.name for path in (ROOT / "services").glob("*/bootstrap.py")))
def test_a_room_is_named_for_what_it_holds(service: str) -> None:
    """A service's gRPC API, consumer, clients, store and demo data are in the rooms of these names, and only there."""
    folder = ROOT / "services" / service
    texts = [
        (path.relative_to(folder).parts[0].removesuffix(".py"), path.read_text())
        for path in folder.rglob("*.py")
        if "migrations" not in path.parts
    ]
    rooms = {room for room, _ in texts}
    for name, content in ROOMS_BY_CONTENT.items():
        found = {room for room, text in texts if re.search(content, text, re.MULTILINE)}
        assert found == _OTHER_ROOMS.get((service, name), {name} & rooms), name


def test_every_service_package_has_a_composition_root() -> None:
    """No package in `services` is left out of the test above."""
    packages_there = {path.parent.name for path in (ROOT / "services").glob("*/__init__.py")}
    assert packages_there == {path.parent.name for path in (ROOT / "services").glob("*/bootstrap.py")}


def test_every_service_is_held_by_the_import_contracts() -> None:
    """Each is independent of the other processes, and its modules have their layers."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    services = {f"services.{path.parent.name}" for path in (ROOT / "services").glob("*/bootstrap.py")}
    independent = {name for each in contracts if each["type"] == "independence" for name in each["modules"]}
    layered = {
        ".".join(name.split(".")[:2])
        for each in contracts
        if each["type"] == "layers"
        for name in each.get("containers", each["layers"])
    }
    assert services - independent == services - layered == set()
