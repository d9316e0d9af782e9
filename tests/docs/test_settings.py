"""The settings: the page lists each with its meaning, and a misspelt one is refused with the nearest name."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from chassis.settings import ProcessSettings
from shop.commands.processes import settings_list
from shop.errors import Refused
from shop.process_table import TABLE

ROOT = Path(__file__).parents[2]
# Names in the sources that are beginnings of names, examples, or other programs' business.
_SET = re.compile(r"^\s*-?\s*(SHOP_[A-Z0-9_]+)[:=]", re.MULTILINE)
_NO_SETTINGS = re.compile(r"SHOP_(X|PROCESS|ENDPOINT|REF)?|SHOP_\w+_")


def test_page_is_the_generated_one() -> None:
    """docs/settings.md is what `shop settings --markdown` prints."""
    generated = settings_list.as_markdown(settings_list.settings().values())
    assert (ROOT / "docs/settings.md").read_text("utf-8") == generated


def test_every_field_of_every_settings_class_is_listed() -> None:
    """What the processes really read is listed, with the default that they really have."""
    listed = settings_list.settings()
    for spec in TABLE:
        if spec.plain:
            continue
        module = import_module(spec.entry.partition(":")[0])
        classes = [
            each for each in vars(module).values() if isinstance(each, type) and issubclass(each, ProcessSettings)
        ]
        assert classes
        for kind in classes:
            assert {f"SHOP_{name.upper()}" for name in kind.model_fields} <= listed.keys()
    assert listed["SHOP_REQUEST_BUDGET"].default == "2.0"
    assert listed["SHOP_MAX_JSON_BYTES"].default == str(256 << 10)
    assert listed["SHOP_RETRY_DELAYS"].default == "[0.5, 2, 8, 30, 120]"


def test_every_setting_has_a_meaning() -> None:
    """No setting is listed without a word on what it does."""
    assert [name for name, each in settings_list.settings().items() if not each.meaning] == []


def test_misspelt_setting_is_refused_with_the_nearest_name() -> None:
    """A variable that no process reads is an error that names what was probably meant."""
    settings_list.check({"SHOP_GATEWAY_PORT": "1", "SHOP_SERVICE_SECRET_FILE": "/x", "HOME": "/", "SHOP_READY_FD": "3"})
    with pytest.raises(Refused, match=r'SHOP_GATEWY_PORT\. Did you mean "SHOP_GATEWAY_PORT"\?'):
        settings_list.check({"SHOP_GATEWY_PORT": "8000"})
    settings_list.check({"SHOP_UPLOAD_PATIENCE": "1", "SHOP_NOTIFIER_PATIENCE": "1"})  # former names
    with pytest.raises(Refused, match="SHOP_QQQQQQ; list them with: shop settings"):
        settings_list.check({"SHOP_QQQQQQ": "8000"})


@pytest.mark.parametrize("folder", ["deploy", "docker-compose.yml", "tests", "bench"])
def test_what_deployments_and_tests_set_is_known(folder: str) -> None:
    """Each setting that compose, Kubernetes, tests and measurements hand to a process is a setting."""
    place = ROOT / folder
    files = (
        [place] if place.is_file() else [path for path in place.rglob("*") if path.suffix in (".yml", ".yaml", ".env")]
    )
    used = {name for path in files for name in _SET.findall(path.read_text("utf-8"))}
    settings_list.check({name: "" for name in used if not _NO_SETTINGS.fullmatch(name)})
