"""Source locations (file, line, function) of running code. Each function is looked up once."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_ROOT = Path(__file__).parents[3]
_PLUMBING = "chassis/"

# What runs tasks: their frames are not the caller's.
_LOOPS = frozenset({"asyncio.events", "asyncio.base_events", "asyncio.runners", "uvloop"})

FILE, LINE, FUNCTION = "code.file.path", "code.line.number", "code.function.name"


def handler_place(handler: Callable[..., Any]) -> Mapping[str, str | int]:
    """A function's source location, as OpenTelemetry's `code.*` attributes; empty outside of our own code."""
    found = inspect.unwrap(handler)
    if isinstance(found, functools.partial):
        found = found.func
    found = getattr(found, "__func__", found)
    if not hasattr(found, "__code__") and callable(found):
        found = type(found).__call__
    code = getattr(found, "__code__", None)
    if code is None or (place := _place(code)) is None:
        return {}
    file, function = place
    return {FILE: file, LINE: code.co_firstlineno, FUNCTION: function}


def calling_place() -> Mapping[str, str | int]:
    """The line that is calling now: of the innermost frame that is no plumbing, or else of the plumbing's innermost."""
    plumbing: Mapping[str, str | int] = {}
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - what `inspect.currentframe` calls
    while frame is not None and frame.f_globals.get("__name__") not in _LOOPS:
        place = _place(frame.f_code)
        if place is not None and not frame.f_code.co_filename.startswith(_HERE):
            file, function = place
            found: Mapping[str, str | int] = {FILE: file, LINE: frame.f_lineno, FUNCTION: function}
            if not file.startswith(_PLUMBING):
                return found
            plumbing = plumbing or found
        frame = frame.f_back
    return plumbing


_HERE = str(_ROOT / "chassis/observability")


@functools.cache
def _place(code: CodeType) -> tuple[str, str] | None:
    """The file, from the project's folder on, and the function's full name; None for what is not the project's."""
    path = Path(code.co_filename)
    if not path.is_relative_to(_ROOT):
        return None
    file = path.relative_to(_ROOT)
    if file.parts[0].startswith("."):  # an environment with the libraries, perhaps
        return None
    module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    return file.as_posix(), f"{module}.{code.co_qualname}"
