"""The content that every adapter answers from: one product for single reads, and a table of 100 of eight fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BRIEF = ("id", "name", "price")
FULL = ("id", "name", "description", "category", "price", "currency", "image_url", "updated_at")
KINDS = ("hardware", "books", "courses", "collectors")
PLACES = 100


@dataclass(slots=True)
class Reads:
    """Number of reads of the table in this process: a read of many rows at once is one read."""

    count: int = 0


READS = Reads()


def _row(number: int) -> dict[str, str]:
    """The product of this number: about 250 bytes of JSON, no two alike."""
    return {
        "id": str(number),
        "name": f"Mechanical Keyboard {number}",
        "description": f"Eighty-seven keys, hot-swappable switches, a cable that comes off; edition {number * 7919}.",
        "category": KINDS[number % len(KINDS)],
        "price": f"{40 + number * 37 % 90}.{number * 13 % 100:02}",
        "currency": "EUR",
        "image_url": f"/v1/files/{number * 104_729:08x}",
        "updated_at": f"2026-01-{1 + number % 28:02}T09:00:00Z",
    }


_TABLE = {str(number): _row(number) for number in range(1, PLACES + 1)}


def brief(product_id: str) -> dict[str, str]:
    """Id, name and price of one product: the row of the single read. Raises `KeyError`."""
    READS.count += 1
    return {name: _TABLE[product_id][name] for name in BRIEF}


def full(product_ids: Sequence[str]) -> list[dict[str, str]]:
    """All eight fields of these products, in one read. Raises `KeyError`."""
    READS.count += 1
    return [_TABLE[product_id] for product_id in product_ids]


def page_ids(limit: int) -> list[str]:
    """The ids of the first `limit` products."""
    return [str(number) for number in range(1, limit + 1)]


def page(limit: int) -> list[dict[str, str]]:
    """The first `limit` products with all eight fields, in one read."""
    return full(page_ids(limit))


def chosen(rows: Sequence[dict[str, Any]], fields: Sequence[str]) -> list[dict[str, Any]]:
    """Rows with only these fields: what a client keeps of an answer that has more."""
    return [{name: row[name] for name in fields} for row in rows]
