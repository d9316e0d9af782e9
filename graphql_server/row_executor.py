"""The executor behind Strawberry's `execution_context_class`: completes rows level by level, not field by field.

graphql-core completes every field of every row by itself, at 10 us each, and the articles' query has 240 of them. But
a selection is the same for all rows, so its plan is made once for each document: which values are copied as they are,
which rows are nested in the row, and which are fetched by a key, for all rows at once. The plan handles the ordinary
case only. A null where none may be, or an upstream that fails, is left to graphql-core, which follows the
specification; the loaders do not fetch anything twice. ADR 7 has the figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    ExperimentalIncrementalExecutionResults,
    GraphQLEnumType,
    GraphQLError,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path

from graphql_server.loaders import Loader, Loaders, Row

_STRAWBERRY = "strawberry-definition"
# Documents whose plans are remembered: as many as Strawberry's caches keep.
_MAX_PLANNED = 128
_TYPE_OF = {"Int": int, "Boolean": bool}


@dataclass(frozen=True, slots=True)
class Join:
    """A field that is fetched by what stands in `key` of the row; `loader` names one of `Loaders`.

    Where the field has an argument `limit`, there is a loader for each, and `limited` makes the argument its number.
    """

    loader: str
    key: str
    limited: Callable[[int | None], int] | None = None

    def of(self, loaders: Loaders, limit: int | None) -> Loader:
        found: Any = getattr(loaders, self.loader)
        loader: Loader = found if self.limited is None else found(self.limited(limit))
        return loader


def joined(kind: Any, loader: str, *, key: str, description: str | None = None) -> Any:
    """A field that is fetched by a key in the row."""
    join = Join(loader, key)

    async def resolve(root: strawberry.Parent[Any], info: strawberry.Info) -> Any:
        return await join.of(info.context.loaders, None).load(root[key])

    return strawberry.field(resolve, graphql_type=kind, description=description, metadata={"join": join})


class _Extraordinary(Exception):
    """A value that only graphql-core's rules can complete."""


class _Leaf(NamedTuple):
    """A value that is taken as it is, since JSON's types are GraphQL's; `narrow` where not every such value will do."""

    shown: str
    name: str
    kind: type
    nullable: bool
    narrow: Callable[[Any], bool] | None


class _Inner(NamedTuple):
    """A field with a selection of its own: a row or `many` rows within the row, or one that is fetched by a `join`."""

    shown: str
    name: str
    plan: Plan
    nullable: bool
    many: bool
    join: Join | None
    limit: int | None


# The rows that a join has brought, by their keys, for each field that is one.
_Joined = dict[int, dict[str, Any]]
_Serializer = Callable[[Row], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The fields that a selection needs of each row of a type."""

    # The serializer of a row, given what its inner fields are to be serialized with (`_compiled`).
    bind: Callable[..., _Serializer]
    inner: tuple[_Inner, ...]
    # Those of them for which, or within which, something is to be fetched.
    fetched: tuple[_Inner, ...]

    async def fetch(self, rows: Sequence[Row], loaders: Loaders, joined: _Joined) -> None:
        """Fetch, level by level, what these rows are joined with."""
        if len(self.fetched) == 1:
            await _fetch(self.fetched[0], rows, loaders, joined)
        else:
            await asyncio.gather(*[_fetch(field, rows, loaders, joined) for field in self.fetched])

    def shown(self, joined: _Joined) -> _Serializer:
        """Serializer of a row into the response. It raises `_Extraordinary`, or what a row of another kind raises."""
        parts: list[Any] = []
        for field in self.inner:
            parts += (field.plan.shown(joined), joined.get(id(field)))
        return self.bind(*parts)


def _compiled(
    blank: dict[str, str | None], leaves: Sequence[_Leaf], inner: Sequence[_Inner]
) -> Callable[..., _Serializer]:
    """The code of a plan's serializer, which takes each inner field's serializer and the rows joined with it.

    As graphql-jit does for Mercurius: a loop over the fields of each row takes twice as long. Of what a client sends,
    only names get into the code, and these as literals.
    """
    known: dict[str, Any] = {"Extraordinary": _Extraordinary}
    values = {shown: repr(value) for shown, value in blank.items()}
    parameters, lines = [], []
    for number, leaf in enumerate(leaves):
        value = values[leaf.shown] = f"leaf_{number}"
        wrong = f"type({value}) is not {leaf.kind.__name__}"
        if leaf.narrow is not None:
            known[f"narrow_{number}"] = leaf.narrow
            wrong += f" or not narrow_{number}({value})"
        if leaf.nullable:
            wrong = f"{value} is not None and ({wrong})"
        lines += [f"{value} = row[{leaf.name!r}]", f"if {wrong}: raise Extraordinary"]
    for number, field in enumerate(inner):
        parameters += [f"show_{number}", f"joined_{number}"]
        below = f"row[{field.name!r}]" if field.join is None else f"joined_{number}.get(row[{field.name!r}])"
        if field.many:
            values[field.shown] = f"[show_{number}(each) for each in {below}]"
            continue
        values[field.shown] = f"None if below_{number} is None else show_{number}(below_{number})"
        lines.append(f"below_{number} = {below}")
        if not field.nullable:
            lines.append(f"if below_{number} is None: raise Extraordinary")
    lines.append("return {" + ", ".join(f"{shown!r}: {value}" for shown, value in values.items()) + "}")
    body = "".join(f"        {line}\n" for line in lines)
    source = f"def bind({', '.join(parameters)}):\n    def show(row):\n{body}    return show\n"
    exec(_code(source), known)  # noqa: S102  # nosec B102 # names as literals are all that is not ours in it
    bind: Callable[..., _Serializer] = known["bind"]
    return bind


@lru_cache(maxsize=4 * _MAX_PLANNED)
def _code(source: str) -> CodeType:
    """Compiled once for all documents that select the same of a row, whatever their arguments: it takes 0.1 ms."""
    return compile(source, "rows", "exec")


async def _fetch(field: _Inner, rows: Sequence[Row], loaders: Loaders, joined: _Joined) -> None:
    name = field.name
    if field.join is None:
        below = [row[name] for row in rows]
    else:
        found = await field.join.of(loaders, field.limit).load_many([row[name] for row in rows])
        joined.setdefault(id(field), {}).update(found)
        below = list(found.values())
    if field.plan.fetched:
        if field.many:
            below = [each for several in below for each in several]
        below = [row for row in below if row is not None]
        if below:
            await field.plan.fetch(below, loaders, joined)


# Where the fields of a selection begin in the document's text -> its plan; None for a selection that has none.
Plans = dict[tuple[int, ...], Plan | None]


@lru_cache(maxsize=_MAX_PLANNED)
def _plans(text: str) -> Plans | None:  # noqa: ARG001  # the key
    """The plans of a document, filled as they are needed."""
    return {}


class RowExecutor(Executor[Any]):
    """graphql-core's executor, which follows a plan where there is one."""

    plans: Plans | None = None
    """The plans of the document that is executed; None where a directive may change its selections."""

    @classmethod
    def build(
        cls,
        schema: GraphQLSchema,
        document: DocumentNode,
        *args: Any,
        operation_extensions: object = None,  # noqa: ARG003  # Strawberry passes it for its own executor
        **kwargs: Any,
    ) -> list[GraphQLError] | Executor[Any]:
        built = super().build(schema, document, *args, **kwargs)
        if isinstance(built, RowExecutor) and document.loc is not None:
            text = document.loc.source.body
            built.plans = None if "@" in text else _plans(text)
        return built

    def build_response(self, data: dict[str, Any] | None) -> ExecutionResult | ExperimentalIncrementalExecutionResults:
        # The executor is part of a reference cycle: the answer's rows would wait with it for the garbage collector.
        self.context_value = None
        return super().build_response(data)

    def complete_value(
        self,
        return_type: Any,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        plan = self._plan(return_type, field_details_list) if type(result) in (dict, list) else None

        def by_the_rules() -> Any:
            return super(RowExecutor, self).complete_value(
                return_type, field_details_list, info, path, result, position_context
            )

        if plan is None:
            return by_the_rules()
        if plan.fetched:
            return self._fetched_and_shown(plan, result, by_the_rules)
        try:
            return _show(plan, result, {})
        except (_Extraordinary, KeyError, TypeError):
            return by_the_rules()

    async def _fetched_and_shown(self, plan: Plan, result: Any, by_the_rules: Any) -> Any:
        joined: _Joined = {}
        try:
            rows = result if isinstance(result, list) else [result]
            await plan.fetch(rows, self.context_value.loaders, joined)
            return _show(plan, result, joined)
        except Exception:  # noqa: BLE001  # it is raised again where it gets its path
            completed = by_the_rules()
            return await completed if isinstance(completed, Awaitable) else completed

    def _plan(self, return_type: Any, selection: FieldDetailsList) -> Plan | None:
        if self.plans is None:
            return None
        key = tuple([each.node.loc.start for each in selection if each.node.loc is not None])
        if key not in self.plans:
            self.plans[key] = self._planned(return_type, selection)
        return self.plans[key]

    def _planned(self, return_type: Any, selection: FieldDetailsList) -> Plan | None:
        """Serializer for values of a type: one row, or a list of rows none of which is null; None for anything else."""
        kind = _nullable(return_type)
        if isinstance(kind, GraphQLList):
            kind = kind.of_type.of_type if isinstance(kind.of_type, GraphQLNonNull) else None
        if not isinstance(kind, GraphQLObjectType) or _STRAWBERRY not in kind.extensions:
            return None  # introspection's types, among others
        # Response key -> its value where all rows have the same; in the query's order, as the specification requires.
        blank: dict[str, str | None] = {}
        parts: list[_Leaf | _Inner] = []
        for shown, details in self.collect_subfields(kind, selection).grouped_field_set.items():
            blank[shown] = None
            if details[0].node.name.value == "__typename":
                blank[shown] = kind.name
            elif part := self._part(kind, shown, details):
                parts.append(part)
            else:
                return None
        leaves = tuple(part for part in parts if isinstance(part, _Leaf))
        inner = tuple(part for part in parts if isinstance(part, _Inner))
        fetched = tuple(each for each in inner if each.join is not None or each.plan.fetched)
        return Plan(_compiled(blank, leaves, inner), inner, fetched)

    def _part(self, kind: GraphQLObjectType, shown: str, details: FieldDetailsList) -> _Leaf | _Inner | None:
        field = kind.fields[details[0].node.name.value]
        source = field.extensions[_STRAWBERRY]
        join: Join | None = source.metadata.get("join")
        if source.base_resolver is not None and join is None:
            return None
        inmost = _nullable(field.type)
        nullable = inmost is field.type
        if isinstance(inmost, GraphQLScalarType | GraphQLEnumType):
            narrow = _narrow(inmost)
            return _Leaf(shown, source.python_name, _TYPE_OF.get(inmost.name, str), nullable, narrow)
        plan = self._plan(field.type, details)
        if plan is None:
            return None
        limit: int | None = None
        if join is not None and join.limited is not None:
            if self.operation.variable_definitions:
                return None  # it may be another one each time
            limit = get_argument_values(field, details[0].node).get("limit")
        name = source.python_name if join is None else join.key
        return _Inner(shown, name, plan, nullable, isinstance(inmost, GraphQLList), join, limit)


def _narrow(kind: GraphQLScalarType | GraphQLEnumType) -> Callable[[Any], bool] | None:
    if isinstance(kind, GraphQLEnumType):
        return lambda value: value in kind.values
    # GraphQL's integers have 32 bits.
    return (lambda value: -(2**31) <= value < 2**31) if kind.name == "Int" else None


def _nullable(kind: Any) -> Any:
    return kind.of_type if isinstance(kind, GraphQLNonNull) else kind


def _show(plan: Plan, result: Any, joined: _Joined) -> Any:
    show = plan.shown(joined)
    return [show(row) for row in result] if isinstance(result, list) else show(result)
