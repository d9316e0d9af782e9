"""How much a query may ask for: measured on its text and variables alone, before anything is asked of anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
)

LARGEST_PAGE = 100
# Where counting ends: fragments that spread each other double with every line.
_ENDLESS = 10**9


@dataclass(frozen=True, slots=True)
class Limits:
    """`tokens` of the text, `depth` of nested fields, `aliases`, `cost` of all fields that may have to be resolved."""

    tokens: int = 1_000
    depth: int = 8
    aliases: int = 15
    cost: int = 5_000

    def check(self, measure: Measure) -> None:
        """Raise a `GraphQLError` with a code of its own for the first limit that is passed."""
        for code, what, value, limit in (
            ("QUERY_TOO_DEEP", "is {} levels deep", measure.depth, self.depth),
            ("TOO_MANY_ALIASES", "has {} aliases", measure.aliases, self.aliases),
            ("QUERY_TOO_COMPLEX", "costs {}", measure.cost, self.cost),
        ):
            if value > limit:
                found = min(value, _ENDLESS)
                message = f"the query {what.format(found)}; the limit is {limit}"
                raise GraphQLError(message, extensions={"code": code, "found": found, "limit": limit})


@dataclass(frozen=True, slots=True)
class Measure:
    depth: int = 0
    aliases: int = 0
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Prices:
    """`sizes`: list field -> how many rows it brings unless told; `weights`: field -> its cost, where that is not 1."""

    sizes: Mapping[str, int]
    weights: Mapping[str, int]


class _Scale:
    """Measures one operation, and each of its fragments once, however often it is spread.

    Without that, forty lines in which each fragment spreads the next one twice would keep a process busy for years.
    """

    def __init__(self, document: DocumentNode, prices: Prices, variables: Mapping[str, Any]) -> None:
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._prices = prices
        self._variables = variables
        self._measured: dict[str, Measure] = {}

    def measure(self, selections: SelectionSetNode | None) -> Measure:
        depth = aliases = cost = 0
        for selection in selections.selections if selections else ():
            found = self._selection(selection)
            depth = max(depth, found.depth)
            aliases += found.aliases
            cost += found.cost
        return Measure(depth, aliases, cost)

    def _selection(self, selection: SelectionNode) -> Measure:
        match selection:
            case FieldNode():
                return self._field(selection)
            case InlineFragmentNode():
                return self.measure(selection.selection_set)
            case FragmentSpreadNode():
                return self._fragment(selection.name.value)
        raise TypeError(selection.kind)

    def _fragment(self, name: str) -> Measure:
        if name not in self._measured:
            self._measured[name] = self.measure(self._fragments[name].selection_set)
        return self._measured[name]

    def _field(self, field: FieldNode) -> Measure:
        if field.name.value.startswith("__"):
            return Measure(aliases=1 if field.alias else 0, cost=1)  # introspection has limits of its own
        inner = self.measure(field.selection_set)
        cost = self._prices.weights.get(field.name.value, 1) + self._size(field) * inner.cost
        return Measure(1 + inner.depth, inner.aliases + (1 if field.alias else 0), cost)

    def _size(self, field: FieldNode) -> int:
        """How many rows a field may bring: its `limit` or `first`, else what is usual for a field of that name."""
        for argument in field.arguments or ():
            if argument.name.value in ("limit", "first"):
                return self._number(argument.value)
        return self._prices.sizes.get(field.name.value, 1)

    def _number(self, value: object) -> int:
        if isinstance(value, IntValueNode):
            wanted: object = int(value.value)
        else:
            wanted = self._variables.get(value.name.value) if isinstance(value, VariableNode) else None
        # A variable that was left out, or is no number, is counted as the most that a page can have.
        return min(max(int(wanted), 0), LARGEST_PAGE) if isinstance(wanted, int) else LARGEST_PAGE


def measure(
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
    prices: Prices,
) -> Measure:
    """Measure an operation of a valid document. A field costs its weight and, for each row, what is in it."""
    return _Scale(document, prices, variables).measure(operation.selection_set)
