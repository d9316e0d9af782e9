"""Statements of SQLAlchemy Core that are compiled once, and from then on run by asyncpg itself.

Between a statement and asyncpg, SQLAlchemy's asynchronous layer takes 0.1 ms of processor time, four times what asyncpg
takes: a context for each execution, a cursor that stands for one that awaits, a result that keeps it. What stays is
what a statement means: its SQL, its types on the way in and out, and rows of the same class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import BindParameter, Dialect, Numeric
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.sql.cache_key import CacheKey
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import SelectBase

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
Names = tuple[str, ...]
# The values that a statement holds itself, as its cache key lists them.
Held = Sequence[BindParameter[Any]]

_MAX_KEPT = 500


class _NotPlain(Exception):
    """A statement needs more than its SQL and its parameters."""


class Rows(IteratorResult[Any]):
    """A statement's rows, and how many it found or changed."""

    rowcount: int


class Prepared:
    """A statement with parameters of certain names, as SQLAlchemy compiles it for asyncpg.

    It serves every statement of the same cache key: these differ in nothing but the values that they hold.
    """

    def __init__(self, statement: SelectBase | UpdateBase, names: Sequence[str], held: Held, dialect: Dialect) -> None:
        # An insert of many rows returns nothing but what it is made to; one of a single row would return its key.
        compiled = statement.compile(dialect=dialect, column_keys=sorted(names), for_executemany=True)
        # Not the statement's own list: an insert that is made of another one has that one's, once it was looked at.
        columns = compiled._result_columns  # noqa: SLF001
        if any(isinstance(column.type, Numeric) for column in columns):
            raise _NotPlain  # how it is read depends on what the server sends
        if compiled.insert_prefetch or compiled.update_prefetch or compiled.literal_execute_params:
            raise _NotPlain  # values that SQLAlchemy makes for each execution
        self._compiled = compiled
        self._sql = str(compiled)
        # An IN that takes a list has a place for each of its items.
        self._varies = bool(compiled.post_compile_params)
        indices = {bind.key: index for index, bind in enumerate(held)}
        self._places = [_Place(compiled, name, indices) for name in compiled.positiontup or ()]
        self._required = frozenset(place.key for place in self._places if place.is_required)
        self.returns_rows = bool(columns)
        self._metadata = SimpleResultMetaData([column.keyname for column in columns])
        converts = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._converts = [(place, convert) for place, convert in enumerate(converts) if convert is not None]

    def call(self, parameters: Mapping[str, Any], held: Held) -> tuple[str, list[Any]] | None:
        """The SQL and the values of its places; None when a parameter is missing."""
        if not self._required <= parameters.keys():
            return None
        if not self._varies:
            return self._sql, [place.value(parameters, held) for place in self._places]
        values = {place.name: place.plain(parameters, held) for place in self._places}
        state = self._compiled.construct_expanded_state(values)
        names, processors = state.positiontup or (), state.processors
        return state.statement, [
            processors[name](state.parameters[name]) if name in processors else state.parameters[name] for name in names
        ]

    def calls(self, parameters: Sequence[Mapping[str, Any]], held: Held) -> tuple[str, list[list[Any]]] | None:
        """The same for one statement that is run with each of these; None where that is not one SQL without rows."""
        if self.returns_rows or self._varies or not all(self._required <= each.keys() for each in parameters):
            return None
        return self._sql, [[place.value(each, held) for place in self._places] for each in parameters]

    def rows(self, records: Sequence[Any], count: int) -> Rows:
        """The result that SQLAlchemy would give."""
        found: list[Any] = [tuple(record) for record in records]
        if self._converts:
            found = [self._converted(list(record)) for record in found]
        result = Rows(self._metadata, iter(found))
        result.rowcount = count
        return result

    def _converted(self, row: list[Any]) -> tuple[Any, ...]:
        for place, convert in self._converts:
            row[place] = convert(row[place])
        return tuple(row)


class _Place:
    """The source of a bound value: a parameter of the call, or a value that the statement holds."""

    def __init__(self, compiled: SQLCompiler, name: str, indices: Mapping[str, int]) -> None:
        bind = compiled.binds[name]
        self.name = name
        self.key = bind.key
        self.is_required = bind.required
        self._held_at = indices.get(bind.key)
        self._default = None if bind.required else bind.effective_value
        self._convert: Callable[[Any], Any] | None = bind.type.dialect_impl(compiled.dialect).bind_processor(
            compiled.dialect
        )

    def plain(self, parameters: Mapping[str, Any], held: Held) -> Any:
        if self.key in parameters:
            return parameters[self.key]
        return self._default if self._held_at is None else held[self._held_at].effective_value

    def value(self, parameters: Mapping[str, Any], held: Held) -> Any:
        plain = self.plain(parameters, held)
        return plain if self._convert is None else self._convert(plain)


class Statements:
    """The prepared statements, by their cache keys."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._kept: dict[tuple[Any, Names], Prepared | None] = {}
        # Of statements that are built once and used again: a cache key is long, and hashed anew at each look.
        self._known: WeakKeyDictionary[Any, tuple[CacheKey, dict[Names, Prepared | None]]] = WeakKeyDictionary()

    def prepared(self, statement: Any, parameters: Parameters) -> tuple[Prepared, Held] | None:
        """A prepared statement; None for what SQLAlchemy has to run: text, or more than SQL with its parameters."""
        if not isinstance(statement, (SelectBase, UpdateBase)):
            return None
        known = self._known.get(statement)
        if known is None:
            key = statement._generate_cache_key()  # noqa: SLF001 - as SQLAlchemy's own example of a cache does
            if key is None:
                return None
            known = self._known[statement] = key, {}
        key, by_names = known
        names: Names = ()
        if parameters:
            names = tuple(parameters if isinstance(parameters, Mapping) else parameters[0])
        if names not in by_names:
            by_names[names] = self._prepare(statement, key, names)
        prepared = by_names[names]
        return None if prepared is None else (prepared, key.bindparams)

    def _prepare(self, statement: SelectBase | UpdateBase, key: CacheKey, names: Names) -> Prepared | None:
        if (key.key, names) not in self._kept:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key.key, names] = None
            with suppress(_NotPlain):
                self._kept[key.key, names] = Prepared(statement, names, key.bindparams, self._dialect)
        return self._kept[key.key, names]
