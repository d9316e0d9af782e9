"""Hooks of extensions run as Strawberry runs them, whatever their form and number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import strawberry
from strawberry.extensions import SchemaExtension
from strawberry.types.execution import ExecutionContext

from graphql_server.extension_hooks import HooksRunner

_SAID: list[str] = []


class Quiet(SchemaExtension):
    """Has no hook."""


class Around(SchemaExtension):
    """One hook for each stage."""

    def on_operation(self) -> Iterator[None]:
        yield from _around("operation")

    def on_parse(self) -> Iterator[None]:
        yield from _around("parse")

    def on_validate(self) -> Iterator[None]:
        yield from _around("validate")

    def on_execute(self) -> Iterator[None]:
        yield from _around("execute")


class Awaiting(SchemaExtension):
    """A hook that may wait."""

    async def on_operation(self) -> AsyncIterator[None]:
        _SAID.append("awaiting")
        yield
        _SAID.append("awaited")


class Plain(SchemaExtension):
    """A hook that is not a generator."""

    def on_operation(self) -> None:  # type: ignore[override]
        _SAID.append("plain")


class Hiding(SchemaExtension):
    """A hook that takes an error for its own."""

    def on_parse(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001
            _SAID.append("hidden")


class Failing(SchemaExtension):
    """A hook that fails before the stage."""

    def on_validate(self) -> Iterator[None]:
        raise ValueError("no such rule")
        yield


@strawberry.type
class Query:
    @strawberry.field
    async def greeting(self) -> str:
        _SAID.append("resolved")
        return "hello"

    @strawberry.field
    async def failing(self) -> str:
        raise ValueError("failed")


class _Schema(strawberry.Schema):
    def create_extensions_runner(
        self, execution_context: ExecutionContext, extensions: list[SchemaExtension]
    ) -> HooksRunner:
        return HooksRunner(execution_context, extensions)


def _around(stage: str) -> Iterator[None]:
    _SAID.append(f"before {stage}")
    try:
        yield
    finally:
        _SAID.append(f"after {stage}")


async def _run(kind: type[strawberry.Schema], extensions: Any, query: str) -> tuple[Any, list[str], list[str]]:
    """The data, the errors, and what hooks and resolvers said, in their order."""
    _SAID.clear()
    result = await kind(Query, extensions=extensions).execute(query)
    return result.data, [str(error) for error in result.errors or ()], list(_SAID)


@pytest.mark.parametrize("query", ["{ greeting }", "{ failing }", "{ unknown }", "{ no end"])
@pytest.mark.parametrize(
    "extensions",
    [
        [],
        [Quiet],
        [Around],
        [Quiet, Around],
        [Around, Around],
        [Awaiting],
        [Plain],
        [Plain, Around, Awaiting],
        [Hiding, Around],
        [Hiding],
        [Failing],
    ],
    ids=lambda each: "+".join(extension.__name__ for extension in each) or "none",
)
async def test_hooks_run_as_strawberry_s_own_runner_runs_them(
    extensions: list[type[SchemaExtension]], query: str
) -> None:
    """The same hooks in the same order around the same stages, and the same result, be it an error."""
    expected = await _run(strawberry.Schema, extensions, query)
    assert await _run(_Schema, extensions, query) == expected
    assert query != "{ greeting }" or Failing in extensions or "resolved" in expected[2]
