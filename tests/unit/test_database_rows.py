"""Mapping rows to dataclasses and back by the names that both declare, and deleting in batches."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text

from chassis.background import in_batches
from chassis.database.database import item_of, row_of


@dataclass(frozen=True, slots=True)
class Parcel:
    id: str
    weight: int
    tags: tuple[str, ...]


PARCELS = Table("parcels", MetaData(), Column("id", Text), Column("tags", Text), Column("sender", Text))


def test_a_row_has_the_columns_that_are_fields_and_what_is_given() -> None:
    """A field that is no column is left out; a value that is given replaces a field's, or is added."""
    parcel = Parcel("a", 3, ("fragile",))
    assert row_of(parcel, PARCELS, tags="fragile", sender="us") == {"id": "a", "tags": "fragile", "sender": "us"}


def test_two_tables_have_rows_of_their_own() -> None:
    """The same item has another row in a table with other columns."""
    weights = Table("weights", MetaData(), Column("id", Text), Column("weight", Integer))
    parcel = Parcel("a", 3, ())
    assert row_of(parcel, PARCELS, tags="") == {"id": "a", "tags": ""}
    assert row_of(parcel, weights) == {"id": "a", "weight": 3}


def test_an_item_has_the_row_s_values_but_for_those_that_are_given() -> None:
    """A value that is given takes a column's place; columns that are no fields are ignored."""
    row = SimpleNamespace(id="a", weight=3, tags="fragile", sender="us")
    assert item_of(Parcel, row, tags=("fragile",)) == Parcel("a", 3, ("fragile",))


def test_a_field_without_a_column_is_an_error() -> None:
    """An item is never made with a default in place of a column that is missing."""
    with pytest.raises(AttributeError, match="weight"):
        item_of(Parcel, SimpleNamespace(id="a", tags=""))


async def test_batches_go_on_until_one_is_not_full() -> None:
    """What each batch has found is added up; the first one that is not full is the last."""
    found = iter([2, 2, 1, 2])

    async def step() -> int:
        return next(found)

    assert (await in_batches(step, size=2, pause=0), next(found)) == (5, 2)
