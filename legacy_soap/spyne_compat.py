"""Makes Spyne 2.14 importable on Python 3.12 and later. Import this module before the first `import spyne`.

Spyne carries a copy of `six` whose importer for `six.moves` has only `find_module`, which Python 3.12 no longer calls.
Loading that copy first, under the name Spyne imports it by, lets us give its importer what is missing.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

SIX = "spyne.util.six"


def _find_spec(importer: Any, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
    return importlib.util.spec_from_loader(name, importer) if name in importer.known_modules else None


def _create_module(importer: Any, spec: ModuleSpec) -> ModuleType:
    module: ModuleType = importer.load_module(spec.name)
    return module


def _exec_module(_importer: Any, _module: ModuleType) -> None:
    """A module of `six.moves` is complete once it has been created."""


def mend() -> None:
    """Load Spyne's `six` and complete its importer, where Python needs it."""
    spyne = importlib.util.find_spec("spyne")
    if sys.version_info < (3, 12) or SIX in sys.modules or spyne is None or spyne.origin is None:
        return
    spec = importlib.util.spec_from_file_location(SIX, Path(spyne.origin).parent / "util" / "six.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"this Spyne has no {SIX}", name=SIX)
    six = importlib.util.module_from_spec(spec)
    sys.modules[SIX] = six
    spec.loader.exec_module(six)
    importer = type(six._importer)  # noqa: SLF001 - there is no public way to it
    importer.find_spec, importer.create_module, importer.exec_module = _find_spec, _create_module, _exec_module


mend()
