"""Whether a regular expression can take more than linear time: judged by its structure, not by a clock.

A backtracking matcher is slow where one text can be matched along several paths. The pattern becomes an automaton
with one state for each character that it may take; it is ambiguous without bound where a state p and a state q exist
such that one word leads from p to p, from p to q and from q to q (Weber and Seidl, 1991: the "infinite degree of
ambiguity" criterion). A repeat of at most 1,000 times counts as a constant.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

# Latin-1, and for other scripts' digits, letters and spaces one each.
_ALPHABET = frozenset([*map(chr, range(256)), "\u0663", "\u0416", "\u2028"])
_CATEGORIES = {
    sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_NOT_SPACE: r"\S",
    sre.CATEGORY_DIGIT: r"\d",
    sre.CATEGORY_NOT_DIGIT: r"\D",
    sre.CATEGORY_WORD: r"\w",
    sre.CATEGORY_NOT_WORD: r"\W",
}
_CONSTANT = 1_000


@dataclass
class _Part:
    """A part of the automaton: where it begins and ends, and whether it may be empty."""

    first: set[int] = field(default_factory=set)
    last: set[int] = field(default_factory=set)
    nullable: bool = True


class _Automaton:
    def __init__(self) -> None:
        self.takes: list[frozenset[str]] = []
        self.follow: list[set[int]] = []
        # Bodies of unbounded repeats within which the same text can be read as one turn or as several.
        self.loops: list[Any] = []

    def sequence(self, items: Any) -> _Part:
        whole = _Part()
        for operation, argument in items:
            whole = self._joined(whole, self._part(operation, argument))
        return whole

    def _joined(self, before: _Part, after: _Part) -> _Part:
        for state in before.last:
            self.follow[state] |= after.first
        return _Part(
            before.first | after.first if before.nullable else before.first,
            before.last | after.last if after.nullable else after.last,
            before.nullable and after.nullable,
        )

    def _part(self, operation: Any, argument: Any) -> _Part:
        if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            return self._repeat(*argument)
        if operation is sre.SUBPATTERN:
            return self.sequence(argument[3])
        if operation is sre.ATOMIC_GROUP:
            return self.sequence(argument)
        if operation is sre.BRANCH:
            branches = [self.sequence(each) for each in argument[1]]
            return _Part(
                set().union(*(each.first for each in branches)),
                set().union(*(each.last for each in branches)),
                any(each.nullable for each in branches),
            )
        if operation in (sre.ASSERT, sre.ASSERT_NOT):
            if ambiguous_items(argument[1]):
                self.loops.append(argument[1])
            return _Part()
        if operation is sre.AT:
            return _Part()
        if operation is sre.GROUPREF:
            return self._repeat(0, sre.MAXREPEAT, [(sre.ANY, None)])
        return self._character(_taken(operation, argument))

    def _character(self, taken: frozenset[str]) -> _Part:
        self.takes.append(taken)
        self.follow.append(set())
        state = len(self.takes) - 1
        return _Part({state}, {state}, nullable=False)

    def _repeat(self, least: int, most: int, body: Any) -> _Part:
        whole = _Part()
        for _ in range(min(least, 2)):
            whole = self._joined(whole, self.sequence(body))
        if most is not sre.MAXREPEAT and most <= _CONSTANT:
            if most > least:
                optional = self.sequence(body)
                whole = self._joined(whole, _Part(optional.first, optional.last))
            return whole
        twice = [*body, *body]
        inner = self.sequence(body)
        if inner.nullable or ambiguous_items(twice):
            self.loops.append(body)
        for state in inner.last:
            self.follow[state] |= inner.first
        return self._joined(whole, _Part(inner.first, inner.last))

    def grows(self) -> bool:
        """Whether the number of paths for one text has no bound."""
        if self.loops:
            return True
        states = range(len(self.takes))
        looping = [state for state in states if state in self._reached(self.follow[state])]
        return any(self._diverges(p, q) for p in looping for q in looping if p != q and q in self._reached({p}))

    def _reached(self, start: set[int]) -> set[int]:
        found, waiting = set(start), deque(start)
        while waiting:
            fresh = self.follow[waiting.popleft()] - found
            found |= fresh
            waiting.extend(fresh)
        return found

    def _diverges(self, p: int, q: int) -> bool:
        """Whether one word leads p to p, p to q and q to q."""
        seen, waiting = set(), deque([(p, p, q)])
        while waiting:
            at = waiting.popleft()
            for x in self.follow[at[0]]:
                for y in self.follow[at[1]]:
                    both = self.takes[x] & self.takes[y]
                    for z in self.follow[at[2]] if both else ():
                        if (x, y, z) == (p, q, q) and both & self.takes[z]:
                            return True
                        if (x, y, z) not in seen and both & self.takes[z]:
                            seen.add((x, y, z))
                            waiting.append((x, y, z))
        return False


def _taken(operation: Any, argument: Any) -> frozenset[str]:
    if operation is sre.LITERAL:
        return frozenset(chr(argument))
    if operation is sre.NOT_LITERAL:
        return _ALPHABET - {chr(argument)}
    if operation is sre.ANY:
        return _ALPHABET
    if operation is sre.RANGE:
        return frozenset(each for each in _ALPHABET if argument[0] <= ord(each) <= argument[1])
    if operation is sre.CATEGORY:
        return frozenset(each for each in _ALPHABET if re.match(_CATEGORIES[argument], each))
    if operation is sre.IN:
        negated = argument[0][0] is sre.NEGATE
        found = frozenset().union(*(_taken(*each) for each in argument[negated:]))
        return _ALPHABET - found if negated else found
    raise NotImplementedError(operation)


def ambiguous_items(items: Any) -> bool:
    automaton = _Automaton()
    automaton.sequence(items)
    return automaton.grows()


def can_be_slow(pattern: str | bytes, *, anywhere: bool) -> bool:
    """Whether matching can take more than linear time; `anywhere`: it is searched for, at each place of a text."""
    items = list(parser.parse(pattern))
    anchored = bool(items) and items[0] in ((sre.AT, sre.AT_BEGINNING), (sre.AT, sre.AT_BEGINNING_STRING))
    if anywhere and not anchored:
        items = [(sre.MIN_REPEAT, (0, sre.MAXREPEAT, [(sre.ANY, None)])), *items]
    return ambiguous_items(items)
