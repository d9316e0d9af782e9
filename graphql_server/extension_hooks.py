"""The hooks of Strawberry's extensions, entered without looking for them anew in each operation.

Four times an operation, Strawberry inspects every extension, makes a context manager of each hook and an exit stack for
them, whether there are any or not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple

from strawberry.extensions import SchemaExtension
from strawberry.extensions.context import (
    ExecutingContextManager,
    ExtensionContextManagerBase,
    OperationContextManager,
    ParsingContextManager,
    ValidationContextManager,
)
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.types.execution import ExecutionContext

_NO_HOOK = nullcontext()


class HooksRunner(SchemaExtensionsRunner):
    """Strawberry's, but for the stages of an operation that have one hook or none, as most have."""

    def __init__(self, execution_context: ExecutionContext, extensions: list[SchemaExtension]) -> None:
        super().__init__(execution_context, extensions)
        self._types = tuple(map(type, extensions))

    def operation(self) -> Any:
        return self._stage(OperationContextManager)

    def validation(self) -> Any:
        return self._stage(ValidationContextManager)

    def parsing(self) -> Any:
        return self._stage(ParsingContextManager)

    def executing(self) -> Any:
        return self._stage(ExecutingContextManager)

    def _stage(self, stage: type[ExtensionContextManagerBase]) -> Any:
        hooks = _hooks(stage.HOOK_NAME, self._types)
        if not hooks:
            return _NO_HOOK
        if len(hooks) > 1 or hooks[0].entered is None:
            return stage(self.extensions)
        return _Entered(hooks[0].entered(self.extensions[hooks[0].place]))


class _Hook(NamedTuple):
    """The hook of the extension at a `place`; `entered` is None where only Strawberry knows how to enter it."""

    place: int
    entered: Callable[[SchemaExtension], AbstractContextManager[None]] | None


@cache
def _hooks(name: str, types: tuple[type[SchemaExtension], ...]) -> tuple[_Hook, ...]:
    """The hooks of a name that extensions of these types have."""
    found = []
    for place, each in enumerate(types):
        hook = getattr(each, name)
        if hook is not getattr(SchemaExtension, name):
            found.append(_Hook(place, contextmanager(hook) if inspect.isgeneratorfunction(hook) else None))
    return tuple(found)


class _Entered:
    """One hook as the asynchronous context manager that Strawberry expects; like Strawberry's, it hides no error."""

    __slots__ = ("_hook",)

    def __init__(self, hook: AbstractContextManager[None]) -> None:
        self._hook = hook

    async def __aenter__(self) -> None:
        self._hook.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hook.__exit__(kind, error, traceback)
