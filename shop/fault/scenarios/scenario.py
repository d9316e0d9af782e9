"""A scenario as it is written: in TOML or JSON, alone in a file or as a table of the suite."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from shop.errors import Refused
from shop.process_table import TABLE

_MAX_SECONDS = 600.0
_MAX_RATE = 200.0
_MAX_LISTENERS = 100
# What a field of each type must be, and whether a value is that. True and false are numbers only to Python.
_TYPES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "float": ("a number", lambda value: type(value) in (int, float)),
    "int": ("an integer", lambda value: type(value) is int),
    "bool": ("true or false", lambda value: type(value) is bool),
    "str": ("a text", lambda value: type(value) is str),
    "tuple[str, ...]": (
        "a list of texts",
        lambda value: isinstance(value, list | tuple) and all(type(each) is str for each in value),
    ),
}
DEFAULT_PROMISES = ("nothing-lost", "nothing-doubled", "all-settle", "answers-honest", "recovers")
NEEDS = ("rabbitmq", "postgresql", "embedded", "sqlite")


@dataclass(frozen=True, slots=True)
class Load:
    """Clients at work: orders and reads a second, whether orders carry an Idempotency-Key, and listening WebSockets."""

    orders_per_s: float = 5.0
    reads_per_s: float = 4.0
    for_s: float = 6.0
    keys: bool = True
    listeners: int = 1


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault of the schedule: when it begins, for how long it lasts, and its words (see `shop fault --help`)."""

    at_s: float
    do: str
    for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One experiment.

    `unrelated` are routes that must not notice, `affected` those that a breaker must answer for; `needs` is what the
    shop has to run on.
    """

    name: str
    sentence: str
    faults: tuple[Planned, ...]
    seed: int = 1
    load: Load = Load()
    promises: tuple[str, ...] = DEFAULT_PROMISES
    unrelated: tuple[str, ...] = ()
    affected: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    recover_within_s: float = 60.0
    quick: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The scenario in the form in which it is written in JSON."""
        return {key: value for key, value in asdict(self).items() if value not in ((), None)}


def read(path: Path) -> Scenario:
    """The scenario in a file. Raises `Refused` with what is wrong."""
    try:
        text = path.read_text("utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{path} cannot be read as a scenario: {error}") from error
    # What `run --json` has printed holds the scenario beside its result.
    if isinstance(content, dict):
        content = content.get("scenario", content)
    if not isinstance(content, dict):
        raise Refused(f"{path} cannot be read as a scenario: it must hold an object, with faults")
    return of(str(content.pop("name", path.stem)), content)


def of(name: str, content: Mapping[str, Any]) -> Scenario:
    """The scenario of this content. Raises `Refused`."""
    where, faults = f"scenario {name}", content.get("faults", ())
    if not isinstance(faults, list | tuple):
        raise Refused(f"{where}: faults must be a list")
    planned = tuple(
        Planned(**_fields(Planned, fault, f"{where}, fault {number}")) for number, fault in enumerate(faults, 1)
    )
    load = Load(**_fields(Load, content.get("load", {}), f"{where}, load"))
    rest = {key: value for key, value in content.items() if key not in ("faults", "load")}
    given = {"sentence": "", **rest, "name": name, "faults": planned, "load": load}
    scenario = Scenario(**_fields(Scenario, given, where))
    _check(scenario)
    return scenario


def _fields(kind: type[Scenario | Planned | Load], content: object, where: str) -> dict[str, Any]:
    """The content as the arguments of its kind. Raises `Refused` for a field that is unknown, missing or mistyped."""
    if not isinstance(content, Mapping):
        raise Refused(f"{where}: it must be an object")
    known = {each.name: each for each in fields(kind)}
    if unknown := content.keys() - known.keys():
        raise Refused(f"{where}: unknown {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    for name, each in known.items():
        if name not in content and each.default is MISSING:
            raise Refused(f"{where}: {name} is missing")
        # The others are tables, which were looked at before.
        must_be, fits = _TYPES.get(str(each.type), ("", lambda _: True))
        if name in content and not fits(content[name]):
            raise Refused(f"{where}: {name} must be {must_be}, and is {content[name]!r}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def _check(scenario: Scenario) -> None:
    problems = [
        (not scenario.faults, "it has no faults: nothing would be tried"),
        (not scenario.promises, "it has no promises: nothing would be checked"),
        (not set(scenario.needs) <= set(NEEDS), f"needs are {', '.join(NEEDS)}"),
        (not 0 < scenario.load.for_s <= _MAX_SECONDS, f"load.for_s must be up to {_MAX_SECONDS:g}"),
        (not 0 <= scenario.load.listeners <= _MAX_LISTENERS, f"load.listeners must be from 0 to {_MAX_LISTENERS}"),
        (not 0 < scenario.recover_within_s <= _MAX_SECONDS, f"recover_within_s must be up to {_MAX_SECONDS:g}"),
        (not 0 < scenario.load.orders_per_s <= _MAX_RATE, f"load.orders_per_s must be up to {_MAX_RATE:g}"),
        (not 0 <= scenario.load.reads_per_s <= _MAX_RATE, f"load.reads_per_s must be up to {_MAX_RATE:g}"),
        (
            any(not (0 <= each.at_s <= _MAX_SECONDS and 0 <= each.for_s <= _MAX_SECONDS) for each in scenario.faults),
            f"at_s and for_s of a fault must be from 0 to {_MAX_SECONDS:g}",
        ),
        (
            "unrelated-flat" in scenario.promises and not scenario.unrelated,
            "unrelated-flat needs routes in `unrelated`",
        ),
        ("fails-fast" in scenario.promises and not scenario.affected, "fails-fast needs routes in `affected`"),
    ]
    for there, problem in problems:
        if there:
            raise Refused(f"scenario {scenario.name}: {problem}")


@dataclass(frozen=True, slots=True)
class _Template:
    """A table of the suite that stands for several: `each` fills `{}` in its words, `pairs` draws so many pairs."""

    each: Sequence[str] = field(default_factory=list)
    pairs: int = 0

    def values(self, seed: int) -> list[str]:
        if not self.pairs:
            return list(self.each)
        draw = random.Random(seed)  # noqa: S311  # nosec B311 # a repeatable draw, no secret
        names = [spec.name for spec in TABLE]
        return [" ".join(draw.sample(names, 2)) for _ in range(self.pairs)]


def suite(folder: Path | None = None) -> dict[str, Scenario]:
    """All scenarios of the suite by name, in the order in which they are written."""
    found: dict[str, Scenario] = {}
    for file in sorted((folder or Path(__file__).with_name("suite")).glob("*.toml")):
        for name, table in tomllib.loads(file.read_text("utf-8")).items():
            for scenario in _expanded(name, table):
                if scenario.name in found:
                    raise Refused(f"{file.name}: the scenario {scenario.name} is defined twice")
                found[scenario.name] = scenario
    return found


def _expanded(name: str, table: dict[str, Any]) -> Iterator[Scenario]:
    template = _Template(table.pop("each", []), table.pop("pairs", 0))
    values = template.values(int(table.get("seed", 1)))
    if not values:
        yield of(name, table)
    for number, value in enumerate(values):
        faults = [{**fault, "do": fault["do"].replace("{}", value)} for fault in table["faults"]]
        filled = {**table, "faults": faults, "sentence": table["sentence"].replace("{}", value.replace(" ", " and "))}
        label = f"{name}-{number + 1}" if template.pairs else f"{name}-{value.replace(' ', '-').replace('->', '-')}"
        yield replace(of(label, filled), seed=int(table.get("seed", 1)) + number)
