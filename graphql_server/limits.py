"""Query limits, measured on text and variables alone, before any call upstream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    Node,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    is_abstract_type,
)

MAX_PAGE = 100
# Where counting ends: fragments that spread each other double with every line.
_ENDLESS = 10**9


@dataclass(frozen=True, slots=True)
class Limits:
    """`tokens` of the text, `depth` of nested fields, `aliases`, `cost` of all fields that may have to be resolved.

    Introspection (`__schema`, `__type`) is nested deeper and costs only this process: that has
    limits of its own, which leave room for the tools' standard query (15 levels, a cost of 22,000: 25 ms).
    `operations`, `directives`, `repeats` of a field and `digits` of a number are those of a whole document, counted
    before it is validated.
    """

    tokens: int = 1_000
    depth: int = 8
    aliases: int = 15
    cost: int = 5_000
    introspection_depth: int = 16
    introspection_cost: int = 40_000
    operations: int = 20
    directives: int = 50
    repeats: int = 100
    digits: int = 400

    def check(self, measure: Measure) -> None:
        """Raise a `GraphQLError` with a code of its own for the first limit that an operation passes."""
        self.check_shape(measure)
        _check("QUERY_TOO_COMPLEX", "the query costs {}", measure.cost, self.cost)
        _check("QUERY_TOO_COMPLEX", "the introspection costs {}", measure.introspection_cost, self.introspection_cost)

    def check_shape(self, measure: Measure) -> None:
        """The same for what holds whatever the variables are: of each operation, whether it is executed or not."""
        _check("QUERY_TOO_DEEP", "the query is {} levels deep", measure.depth, self.depth)
        deepest = measure.introspection_depth
        _check("QUERY_TOO_DEEP", "the introspection is {} levels deep", deepest, self.introspection_depth)
        _check("TOO_MANY_ALIASES", "the query has {} aliases", measure.aliases, self.aliases)

    def check_document(self, document: DocumentNode) -> None:
        """Raise a `GraphQLError` for a document, valid or not, that would take long to validate.

        Validation compares each two fields that have one name in an answer: 240 times `me` take it half a second.
        """
        counted = _Counted()
        counted.count(document)
        _check("TOO_MANY_OPERATIONS", "the document has {} operations", counted.operations, self.operations)
        _check("TOO_MANY_DIRECTIVES", "the document has {} directives", counted.directives, self.directives)
        _check("TOO_MANY_ALIASES", "the document has {} aliases", counted.aliases, self.aliases)
        # Python makes no integer of 4,300 digits, and validation would end in that.
        _check("QUERY_TOO_COMPLEX", "the document has a number of {} characters", counted.digits, self.digits)
        name, times = max(counted.names.items(), key=lambda item: item[1], default=("", 0))
        _check("QUERY_TOO_COMPLEX", f"the document has {name} {{}} times", times, self.repeats)


def _check(code: str, what: str, value: int, limit: int) -> None:
    if value > limit:
        found = min(value, _ENDLESS)
        message = f"{what.format(found)}; the limit is {limit}"
        raise GraphQLError(message, extensions={"code": code, "found": found, "limit": limit})


@dataclass(slots=True)
class _Counted:
    """Counts of a document, over all operations and fragments."""

    operations: int = 0
    directives: int = 0
    aliases: int = 0
    # Of the longest number.
    digits: int = 0
    # A field's name in the answer -> how often it is written.
    names: Counter[str] = field(default_factory=Counter)

    def count(self, document: DocumentNode) -> None:
        waiting: list[Node] = [document]
        while waiting:
            node = waiting.pop()
            match node:
                case OperationDefinitionNode():
                    self.operations += 1
                case DirectiveNode():
                    self.directives += 1
                case IntValueNode() | FloatValueNode():
                    self.digits = max(self.digits, len(node.value))
                case FieldNode():
                    self.aliases += node.alias is not None
                    self.names[(node.alias or node.name).value] += 1
            for key in node.keys:
                value = getattr(node, key, None)
                if isinstance(value, Node):
                    waiting.append(value)
                elif isinstance(value, Sequence) and not isinstance(value, str):
                    waiting.extend(each for each in value if isinstance(each, Node))


@dataclass(frozen=True, slots=True)
class Measure:
    """Depth, aliases and cost of one operation, with its fragments; `depth` and `cost` are without introspection."""

    depth: int = 0
    aliases: int = 0
    cost: int = 0
    introspection_depth: int = 0
    introspection_cost: int = 0

    def and_also(self, other: Measure) -> Measure:
        """Add the measure of a selection beside this one: the greater depths, the sums of the rest."""
        return Measure(
            max(self.depth, other.depth),
            self.aliases + other.aliases,
            self.cost + other.cost,
            max(self.introspection_depth, other.introspection_depth),
            self.introspection_cost + other.introspection_cost,
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """`sizes`: list field -> its rows without an argument; `weights`: field -> its cost, where that is not 1.

    `introspection`: the sizes of the lists that describe the schema.
    """

    sizes: Mapping[str, int]
    weights: Mapping[str, int]
    introspection: Mapping[str, int] = field(default_factory=dict)

    def of_introspection(self) -> Prices:
        return Prices(self.introspection, {})


def introspection_sizes(schema: GraphQLSchema) -> dict[str, int]:
    """Row estimates for the lists of the introspection schema (GraphQL, section 4.2): the average where it is."""
    types = schema.type_map.values()
    fields = [each.fields for each in types if isinstance(each, GraphQLObjectType | GraphQLInterfaceType)]
    inputs = [each.fields for each in types if isinstance(each, GraphQLInputObjectType)]
    enums = [each.values for each in types if isinstance(each, GraphQLEnumType)]
    arguments = [each.args for of_type in fields for each in of_type.values() if each.args]
    return {
        "types": len(schema.type_map),
        "directives": len(schema.directives),
        "fields": _average(fields),
        "inputFields": _average(inputs),
        "enumValues": _average(enums),
        "args": _average(arguments),
        "interfaces": 1,
        "possibleTypes": _average([schema.get_possible_types(each) for each in types if is_abstract_type(each)]),
    }


def _average(collections: Sequence[Sized]) -> int:
    return max(1, ceil(sum(map(len, collections)) / max(1, len(collections))))


class Scale:
    """Measures operations of a valid document. A field costs its weight and, for each row, what is in it.

    Each fragment is measured once, however often it is spread.
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
        self._document = document

    def measure(self, selections: SelectionSetNode | None) -> Measure:
        whole = Measure()
        for selection in selections.selections if selections else ():
            whole = whole.and_also(self._selection(selection))
        return whole

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
        aliases = 1 if field.alias else 0
        if field.name.value.startswith("__"):
            inner = self._introspection.measure(field.selection_set)
            return Measure(0, inner.aliases + aliases, 1, 1 + inner.depth, inner.cost)
        inner = self.measure(field.selection_set)
        cost = self._prices.weights.get(field.name.value, 1) + self._size(field) * inner.cost
        return replace(inner, depth=1 + inner.depth, aliases=inner.aliases + aliases, cost=cost)

    @cached_property
    def _introspection(self) -> Scale:
        return Scale(self._document, self._prices.of_introspection(), {})

    def _size(self, field: FieldNode) -> int:
        """Row estimate of a field: its `limit` or `first`, else what is usual for a field of that name."""
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
        return min(max(int(wanted), 0), MAX_PAGE) if isinstance(wanted, int) else MAX_PAGE


def measure_shapes(document: DocumentNode, prices: Prices) -> list[Measure]:
    """Measure each operation of a valid document, as if each variable had its largest value."""
    scale = Scale(document, prices, {})
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    return [scale.measure(operation.selection_set) for operation in operations]
