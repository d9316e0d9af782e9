"""Topic patterns, as AMQP 0-9-1 section 3.1.3.3 defines them."""

from __future__ import annotations

import pytest

from chassis.broker.topics import matches


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("order.placed", "order.placed", True),
        ("order.placed", "order.placed.late", False),
        ("order.placed", "order", False),
        ("order.*", "order.placed", True),
        ("order.*", "order", False),
        ("order.*", "order.placed.late", False),
        ("*.placed", "order.placed", True),
        ("#", "order.placed", True),
        ("#", "", True),
        ("order.#", "order", True),
        ("order.#", "order.placed.late", True),
        ("order.#", "orders.placed", False),
        ("#.late", "order.placed.late", True),
        ("order.#.late", "order.late", True),
        ("order.#.late", "order.placed", False),
        ("*.#.*", "order", False),
    ],
)
def test_a_pattern_takes_the_routing_keys_it_describes(pattern: str, key: str, expected: bool) -> None:
    """`*` is one word, `#` any number of words, everything else itself."""
    assert matches(pattern, key) is expected
