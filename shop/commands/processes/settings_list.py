"""Every `SHOP_…` setting: read from the sources of the processes' settings classes, which import nothing for it."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chassis.settings import RENAMED
from shop.errors import Refused, nearest
from shop.process_table import TABLE

_ROOT = Path(__file__).parents[3]
_EVERYWHERE = "all processes"
# Settings that are read where there is no class: setting -> (default, meaning, its readers).
_OTHERS = {
    "SHOP_START_METHOD": (
        "fork",
        "fork processes from a preloaded one, or spawn each anew (spawn on macOS)",
        "shop up",
    ),
    "SHOP_KEYRING": ("", "off: no secrets are made in the data directory; each must be set", "shop up"),
    "SHOP_PASSWORD": ("", "password of the account that a command signs in as", "shop"),
    "SHOP_LAB_PLAN": ("", "links between processes; `shop up --lab` sets it", "link_proxy"),
    "SHOP_LAB_CLOCK": ("", "file with the error of the clock; `shop up --lab` sets it", "all processes"),
    "SHOP_LEGACY_SOAP_USER": ("SHOP", "account of the ERP that sessions are opened with", "legacy_soap"),
    "SHOP_LEGACY_SOAP_PASSWORD": ("shop", "its password", "legacy_soap"),
    "SHOP_LEGACY_SOAP_SESSION_SECONDS": ("900", "seconds until a session of the ERP ends", "legacy_soap"),
    "SHOP_LEGACY_SOAP_FAULTS": ("{}", "faults to start with, as JSON", "legacy_soap"),
    "SHOP_LEGACY_SOAP_SEED": ("", "none: the stock is empty at start", "legacy_soap"),
}
# Set by one process for another, by tests, or by deployments; no one else's business.
_INTERNAL = re.compile(r"SHOP_(READY_FD|LIFELINE_FD|IMAGE|SUBNET|COMPOSE_\w+|VERSION|TEST_\w+)")


@dataclass(frozen=True, slots=True)
class Setting:
    """`default` is as in the source; `meaning` includes the unit; `readers` are processes and commands."""

    name: str
    default: str
    meaning: str
    readers: tuple[str, ...]


@cache
def settings() -> Mapping[str, Setting]:
    """Each setting by its name, in the order of the alphabet."""
    found: dict[str, Setting] = {}
    for each in [*_of_table(), *_of_classes(), *_of_others()]:
        before = found.get(each.name)
        if before is None:
            found[each.name] = each
        elif _EVERYWHERE not in before.readers:
            readers = tuple(dict.fromkeys([*before.readers, *each.readers]))
            default, meaning = before.default or each.default, before.meaning or each.meaning
            found[each.name] = Setting(each.name, default, meaning, readers)
    return {
        name: Setting(name, each.default, each.meaning or _derived(name), each.readers)
        for name, each in sorted(found.items())
    }


def check(env: Mapping[str, str]) -> None:
    """Raises `Refused` for a variable `SHOP_…` that is no setting, with the nearest name."""
    known = settings()
    for name in sorted(env):
        setting = name.removesuffix("_FILE")
        setting = RENAMED.get(setting, setting)
        if name.startswith("SHOP_") and setting not in known and not _INTERNAL.fullmatch(name):
            raise Refused(f"unknown setting {name}{nearest(name, known, else_='; list them with: shop settings')}")


def _of_classes() -> Iterator[Setting]:
    yield from _fields("chassis.settings", "ProcessSettings", _EVERYWHERE)
    for spec in TABLE:
        module, _, attribute = spec.entry.partition(":")
        wanted = "WorkerSettings" if attribute == "run_worker" else "Settings"
        if not spec.plain:
            yield from _fields(module, wanted, spec.name)
    yield from _fields("shop.audit.reading", "Settings", "shop audit")


def _fields(module: str, name: str, reader: str) -> Iterator[Setting]:
    """The fields of a settings class, each with the comment above it."""
    source = (_ROOT / module.replace(".", "/")).with_suffix(".py").read_text("utf-8")
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.ClassDef) and node.name == name):
            continue
        for field in node.body:
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.value):
                continue
            comment = _comment(lines, field.lineno - 2)
            yield Setting(f"SHOP_{field.target.id.upper()}", _default(field.value), comment, (reader,))


def _comment(lines: list[str], at: int) -> str:
    found: list[str] = []
    while lines[at].strip().startswith("#"):
        found.insert(0, lines[at].strip().removeprefix("#").strip())
        at -= 1
    return " ".join(found)


def _default(value: ast.expr) -> str:
    if isinstance(value, ast.Call):
        inner = value.args[0] if value.args else None
        return str(inner.value) if isinstance(inner, ast.Constant) else "{}"
    try:
        found = eval(compile(ast.Expression(value), "<default>", "eval"), {"__builtins__": {}})  # noqa: S307  # nosec B307 # our own source
    except NameError:
        return ast.unparse(value)
    if isinstance(found, tuple):
        return "[" + ", ".join(f"{each:g}" for each in found) + "]"
    return "" if found is None else str(found).lower() if isinstance(found, bool) else str(found)


def _of_table() -> Iterator[Setting]:
    for spec in TABLE:
        for port in spec.ports:
            yield Setting(port.setting, str(port.default), f"port of {spec.name}", (spec.name,))
            for address in port.addresses:
                yield Setting(address, "", f"address of {spec.name} for other processes", ("its clients",))
        for scheme in spec.schemes:
            yield Setting(scheme.setting, "", "secret that signs webhooks of this provider", (spec.name,))


def _of_others() -> Iterator[Setting]:
    for name, (default, meaning, reader) in _OTHERS.items():
        yield Setting(name, default, meaning, (reader,))


def _derived(name: str) -> str:
    """The meaning that follows from a name alone."""
    process = name.removeprefix("SHOP_").lower()
    if name.endswith("_PORT"):
        return f"port of {process.removesuffix('_port')}"
    if name.endswith("_ADDRESS"):
        return f"host:port of {process.removesuffix('_address')}"
    if name.endswith("_URL"):
        return f"URL of {process.removesuffix('_url')}"
    return ""


def as_text(found: Iterable[Setting], width: int) -> str:
    """A line or a few for each setting, within so many columns."""
    lines: list[str] = []
    for each in found:
        lines.append(f"{each.name}={each.default}")
        lines += textwrap.wrap(
            f"{each.meaning} ({', '.join(each.readers)})", width - 4, initial_indent="    ", subsequent_indent="    "
        )
    return "\n".join(lines)


def as_markdown(found: Iterable[Setting]) -> str:
    """The page docs/settings.md."""
    rows = [
        f"| `{each.name}` | {_code(each.default)} | {_cell(each.meaning)} | {', '.join(each.readers)} |"
        for each in found
    ]
    return "\n".join(
        [_HEAD, "| setting | default | meaning, with its unit | read by |", "|---|---|---|---|", *rows, ""]
    )


def _code(text: str) -> str:
    return f"<code>{text}</code>" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_HEAD = """# Settings

Every setting is an environment variable. `SHOP_X_FILE` names a file that holds the value of `SHOP_X`. A variable that
begins with `SHOP_` and is not listed here is refused at `shop up` and `shop run`, with the nearest name.
Former names still work: `SHOP_NOTIFIER_PATIENCE` is read as `SHOP_NOTIFIER_TIMEOUT`, `SHOP_UPLOAD_PATIENCE` as
`SHOP_UPLOAD_TIMEOUT`.

This page is generated from the settings classes; `tests/docs/test_settings.py` compares it. The same in a terminal:

```sh
.venv/bin/shop settings
.venv/bin/shop settings --markdown > docs/settings.md
```
"""
