"""Rows from before amounts counted minor units keep their worth, on both databases, whatever ISO 4217 says later."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from shutil import copy

import pytest
from sqlalchemy import text

from chassis import currency
from chassis.database.database import database
from tests.contract.databases import opened, url_of

# Of 500 yen, 12.50 euros and 1.500 dinars: hundredths before, minor units after.
WORTH = {"JPY": (50000, 500), "EUR": (1250, 1250), "KWD": (150, 1500)}
LINES = '[["p","P",1,"12.5"]]'


@pytest.fixture(autouse=True)
def a_later_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The currencies' places have changed since."""
    monkeypatch.setitem(currency.PLACES, "JPY", 2)
    monkeypatch.setitem(currency.PLACES, "KWD", 2)
    monkeypatch.setitem(currency.PLACES, "EUR", 0)


def copy_first(service: str, folder: Path) -> None:
    """A folder that holds a service's first revision alone."""
    folder.mkdir()
    (first,) = Path(str(import_module(f"services.{service}.bootstrap").MIGRATIONS)).glob("0001_*.py")
    copy(first, folder)


async def before(service: str, url: str, folder: Path, statement: str, rows: list[dict[str, object]]) -> None:
    """A database of the first revision, with rows."""
    copy_first(service, folder)
    async with database(url, folder, create=True) as db, db.transaction() as connection:
        await connection.execute(text(statement), rows)


async def test_totals_of_orders(database_url: str, tmp_path: Path) -> None:
    """A stored total is worth the same; the lines, which are decimals, stay as they are."""
    url = url_of("orders", database_url, tmp_path)
    statement = (
        "INSERT INTO orders (id, user_id, status, status_reason, items, total_minor, currency, placed_at, version,"
        " payment_id, delivered, demo, fingerprint)"
        " VALUES (:code, 'u', 'paid', '', :lines, :old, :code, :at, 1, '', false, false, '')"
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    at_or_text = at if url.startswith("postgresql") else at.strftime("%Y-%m-%d %H:%M:%S.%f")
    rows: list[dict[str, object]] = [
        {"code": code, "lines": LINES, "old": old, "at": at_or_text} for code, (old, _) in WORTH.items()
    ]
    await before("orders", url, tmp_path / "first", statement, rows)
    async with opened("orders", url) as db, db.reading() as connection:
        found = (await connection.execute(text("SELECT currency, total_minor, items FROM orders"))).all()
    assert {tuple(row) for row in found} == {(code, new, LINES) for code, (_, new) in WORTH.items()}


async def test_prices_of_products(database_url: str, tmp_path: Path) -> None:
    """A stored price is worth the same."""
    url = url_of("catalog", database_url, tmp_path)
    statement = (
        "INSERT INTO products (id, name, description, category, price_minor, currency, image_url, updated_at, version,"
        " deleted) VALUES (:code, 'P', '', 'c', :old, :code, '', :at, 1, false)"
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    at_or_text = at if url.startswith("postgresql") else at.strftime("%Y-%m-%d %H:%M:%S.%f")
    rows: list[dict[str, object]] = [{"code": code, "old": old, "at": at_or_text} for code, (old, _) in WORTH.items()]
    await before("catalog", url, tmp_path / "first", statement, rows)
    async with opened("catalog", url) as db, db.reading() as connection:
        found = (await connection.execute(text("SELECT currency, price_minor FROM products"))).all()
    assert {tuple(row) for row in found} == {(code, new) for code, (_, new) in WORTH.items()}


async def test_lines_of_the_modern_erp(database_url: str, tmp_path: Path) -> None:
    """A stored line's price is worth the same, in the text by which a repeat is known; a tombstone stays one."""
    url = url_of("erp_adapter", database_url, tmp_path)

    def content(code: str, price: int) -> str:
        return json.dumps({"customer": "c", "currency": code, "lines": [["p", 2, price]]})

    statement = "INSERT INTO sales_orders (order_id, state, content) VALUES (:id, 'open', :content)"
    rows: list[dict[str, object]] = [{"id": code, "content": content(code, old)} for code, (old, _) in WORTH.items()]
    await before("erp_adapter", url, tmp_path / "first", statement, [*rows, {"id": "none", "content": ""}])
    for _ in range(2):  # a process that starts again converts nothing again
        async with opened("erp_adapter", url) as db, db.reading() as connection:
            found = (await connection.execute(text("SELECT order_id, content FROM sales_orders"))).all()
    wanted = {(code, content(code, new)) for code, (_, new) in WORTH.items()}
    assert {tuple(row) for row in found} == {*wanted, ("none", "")}
