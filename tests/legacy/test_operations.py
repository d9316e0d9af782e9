"""The ERP's operations, called by zeep over its own WSDL."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import pytest
import zeep

from legacy_soap.bootstrap import Settings, running
from legacy_soap.documents import DELIVERED, IN_TRANSIT, SHIPMENT_CREATED, Refusal
from legacy_soap.erp import shipment_status
from legacy_soap.sessions import MAX_SESSIONS, Sessions
from legacy_soap.tables import VERSIONS
from tests.legacy.conftest import Customer


def test_stock_comes_in_the_habits_of_its_age(customer: Customer) -> None:
    """Stock levels of several articles come in one answer, zero-padded, with the ERP's own article numbers."""
    known, scarce, unknown = customer.call(
        "GetStockLevel", Articles={"ArticleRef": [{"AltRef": "42"}, {"ArtNo": "ART-000002"}, {"AltRef": "nothing"}]}
    )
    assert (known.ArtNo, known.AltRef, known.OnHand, known.Stat) == ("ART-000001", "42", "000000100", "10")
    assert (scarce.AltRef, scarce.OnHand) == ("7", "000000003")
    assert (unknown.AltRef, unknown.OnHand, unknown.Stat) == ("nothing", "000000000", "90")
    assert abs(
        datetime.strptime(f"{known.AsOfDate}{known.AsOfTime}+0000", "%Y%m%d%H%M%S%z") - datetime.now(UTC)
    ) < timedelta(minutes=1)


def test_a_repeated_order_gets_the_same_number(customer: Customer) -> None:
    """The customer's reference makes a repeated CreateSalesOrder answer the order that is there."""
    first = customer.call("CreateSalesOrder", **customer.order("order-1"))
    assert (first.OrdNo, first.Stat) == ("0000000001", "10")
    assert customer.call("CreateSalesOrder", **customer.order("order-1")).OrdNo == first.OrdNo
    assert customer.call("CreateSalesOrder", **customer.order("order-2")).OrdNo != first.OrdNo


def test_a_reference_is_good_for_one_order(customer: Customer) -> None:
    """A repeated CreateSalesOrder with other content is refused, and the first order stays as it is."""
    customer.call("CreateSalesOrder", **customer.order("order-1", 2))
    for other in (
        customer.order("order-1", 3),
        customer.order("order-1", 2, "7"),
        customer.order("order-1", 2, cents=1),
        customer.order("order-1", 2) | {"CustNo": "456"},
        customer.order("order-1", 2) | {"Curr": "USD"},
    ):
        assert customer.refused("CreateSalesOrder", **other) == ("ERR-053", "order-1")
    customer.call("CreateShipment", CustRef="order-1")
    assert customer.call("CreateSalesOrder", **customer.order("order-1", 2)).Stat == "20"
    assert customer.on_hand("42") == "000000098"


def test_goods_are_booked_once(customer: Customer) -> None:
    """PostGoodsReceipt books goods in, or out, once per reference; a reference is good for one receipt."""

    def post(reference: str, quantity: str, product: str = "42") -> dict[str, str]:
        return {"CustRef": reference, "AltRef": product, "Qty": quantity, "RcptDate": "20040201"}

    receipt = customer.call("PostGoodsReceipt", **post("receipt-1", "000000005"))
    assert (receipt.CustRef, receipt.AltRef, receipt.Qty) == ("receipt-1", "42", "000000005")
    assert customer.call("PostGoodsReceipt", **post("receipt-1", "000000005")).RcptNo == receipt.RcptNo
    assert customer.on_hand("42") == "000000105"
    customer.call("PostGoodsReceipt", **post("receipt-2", "000000007-"))
    assert customer.on_hand("42") == "000000098"
    assert customer.refused("PostGoodsReceipt", **post("receipt-1", "000000006")) == ("ERR-053", "receipt-1")
    assert customer.refused("PostGoodsReceipt", **post("receipt-1", "000000005", "7")) == ("ERR-053", "receipt-1")
    assert customer.refused("PostGoodsReceipt", **post("receipt-3", "000000005", "new")) == ("ERR-042", "new")
    assert customer.refused("PostGoodsReceipt", **post("receipt-3", "000000000")) == ("ERR-010", "Qty")
    no_day = post("receipt-3", "000000005") | {"RcptDate": "20041332"}
    assert customer.refused("PostGoodsReceipt", **no_day) == ("ERR-010", "RcptDate")


def test_a_file_of_an_older_version_is_brought_up_to_date(settings: Settings) -> None:
    """An ERP that finds a file without the newest tables adds them and keeps what is there."""
    settings.data_dir.mkdir(exist_ok=True)
    with closing(sqlite3.connect(settings.data_dir / "legacy_soap.sqlite")) as db:
        db.executescript(VERSIONS[0])
        db.execute("INSERT INTO article (alt_ref, text, on_hand) VALUES ('42', '', 5)")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    with running(settings) as server:
        customer = Customer(server.port)
        customer.call("PostGoodsReceipt", CustRef="r", AltRef="42", Qty="000000002", RcptDate="20040201")
        assert customer.on_hand("42") == "000000007"


def test_a_commit_that_fails_is_over(customer: Customer, settings: Settings) -> None:
    """An order whose commit fails is refused, nothing of it is kept, and the next one is taken."""
    with closing(sqlite3.connect(settings.data_dir / "legacy_soap.sqlite", isolation_level=None)) as db:
        # A constraint that is looked at when the transaction commits, and never holds.
        db.execute("CREATE TABLE doom (no INTEGER REFERENCES article DEFERRABLE INITIALLY DEFERRED)")
        db.execute("CREATE TRIGGER dooms AFTER INSERT ON sales_order BEGIN INSERT INTO doom VALUES (-1); END")
        assert customer.refused("CreateSalesOrder", **customer.order("order-1"))[0] == "ERR-999"
        db.execute("DROP TRIGGER dooms")
        assert db.execute("SELECT count(*) FROM sales_order").fetchone() == (0,)
    assert customer.call("CreateSalesOrder", **customer.order("order-1")).Stat == "10"


def test_a_cancelled_order_stays_cancelled(customer: Customer) -> None:
    """After a cancellation, repeated or not, the reference can neither be ordered nor shipped any more."""
    customer.call("CreateSalesOrder", **customer.order("order-1"))
    assert customer.call("CancelSalesOrder", CustRef="order-1").Stat == "90"
    assert customer.call("CancelSalesOrder", CustRef="order-1").Stat == "90"
    assert customer.refused("CreateSalesOrder", **customer.order("order-1")) == ("ERR-051", "order-1")
    assert customer.refused("CreateShipment", CustRef="order-1") == ("ERR-051", "order-1")


def test_an_order_that_was_cancelled_before_it_arrived_is_refused(customer: Customer) -> None:
    """A cancellation that overtakes its order keeps the order out."""
    assert customer.call("CancelSalesOrder", CustRef="late").Stat == "90"
    assert customer.refused("CreateSalesOrder", **customer.order("late")) == ("ERR-051", "late")


def test_a_shipment_takes_the_pieces_once(customer: Customer) -> None:
    """CreateShipment lowers the stock by the order's pieces, once however often it is called, and ends cancelling."""
    customer.call("CreateSalesOrder", **customer.order("order-1", quantity=5))
    shipment = customer.call("CreateShipment", CustRef="order-1")
    assert customer.call("CreateShipment", CustRef="order-1").ShpNo == shipment.ShpNo
    assert shipment.ShpDate == (datetime.now(UTC).date() + timedelta(days=1)).strftime("%Y%m%d")
    assert customer.on_hand("42") == "000000095"
    assert customer.call("GetShipmentStatus", CustRef="order-1").ShpNo == shipment.ShpNo
    assert customer.refused("CancelSalesOrder", CustRef="order-1") == ("ERR-052", "order-1")


def test_two_lines_of_one_article_are_both_taken(customer: Customer) -> None:
    """An order may name an article twice, by its number and by the customer's reference, and ships the sum."""
    order = customer.order("order-1", quantity=2)
    order["Lines"]["OrderLine"].append({"ArtNo": "ART-000001", "Qty": "000000003", "UnitPrc": "000004900"})
    customer.call("CreateSalesOrder", **order)
    customer.call("CreateShipment", CustRef="order-1")
    assert customer.on_hand("42") == "000000095"


def test_a_new_article_begins_without_stock_and_may_go_below_zero(customer: Customer) -> None:
    """CreateArticle makes an unknown article known, once per reference; the minus sign of its stock stands behind."""
    assert customer.refused("CreateSalesOrder", **customer.order("order-1", 3, "new")) == ("ERR-042", "new")
    number = customer.call("CreateArticle", AltRef="new", Text="A NEW ARTICLE")
    assert customer.call("CreateArticle", AltRef="new", Text="THE SAME") == number
    customer.call("CreateSalesOrder", **customer.order("order-1", 3, "new"))
    customer.call("CreateShipment", CustRef="order-1")
    assert customer.on_hand("new") == "000000003-"


def test_the_list_of_orders_has_pages(customer: Customer) -> None:
    """ListSalesOrders names every order once, with its status and number of shipments, page by page."""
    for number in range(5):
        customer.call("CreateSalesOrder", **customer.order(f"order-{number}"))
    customer.call("CreateShipment", CustRef="order-0")
    customer.call("CancelSalesOrder", CustRef="order-1")
    rows, after = [], "0000000000"
    while after:
        page = customer.call("ListSalesOrders", AfterNo=after, MaxRows="000000002")
        rows += page.Orders.OrderRow
        after = page.NextNo
    assert [row.CustRef for row in rows] == [f"order-{number}" for number in range(5)]
    assert [row.Stat for row in rows] == ["20", "90", "10", "10", "10"]
    assert [row.Shipments for row in rows] == ["000000001", *["000000000"] * 4]


def test_refusals_have_codes(customer: Customer) -> None:
    """Every other refusal has its code, and says what it is about."""
    big = customer.order("big", quantity=205)
    assert customer.refused("CreateSalesOrder", **big) == ("ERR-017", "")
    nothing = customer.order("nothing", quantity=0)
    assert customer.refused("CreateSalesOrder", **nothing) == ("ERR-010", "Qty")
    no_day = customer.order("no-day") | {"OrdDate": "20041332"}
    assert customer.refused("CreateSalesOrder", **no_day) == ("ERR-010", "OrdDate")
    not_padded = customer.order("not-padded")
    not_padded["Lines"]["OrderLine"][0]["Qty"] = "2"
    assert customer.refused("CreateSalesOrder", **not_padded)[0] == "ERR-090"
    assert customer.refused("GetStockLevel", Articles={"ArticleRef": [{}]}) == ("ERR-010", "ArtNo")
    assert customer.refused("CreateShipment", CustRef="nobody") == ("ERR-044", "nobody")
    assert customer.refused("GetShipmentStatus", CustRef="nobody") == ("ERR-045", "nobody")


def test_an_order_of_exactly_the_credit_limit_is_taken(customer: Customer) -> None:
    """10,000.00 is within the limit, one cent more is not."""
    assert customer.call("CreateSalesOrder", **customer.order("limit", quantity=1, cents=1_000_000)).Stat == "10"
    assert customer.refused("CreateSalesOrder", **customer.order("over", quantity=1, cents=1_000_001))[0] == "ERR-017"


def test_a_session_is_needed_and_expires(settings: Settings) -> None:
    """Without a session, with an invented one or with one that has expired, every call gets ERR-001."""
    with running(dataclasses.replace(settings, session_seconds=0)) as server:
        customer = Customer(server.port)
        for session in (customer.session, "INVENTED", ""):
            customer.session = session
            assert customer.refused("GetShipmentStatus", CustRef="order-1") == ("ERR-001", "")


def test_a_session_is_good_for_its_time() -> None:
    """A session is good until its seconds are over, and the oldest one ends when there are too many."""
    now = 0.0
    sessions = Sessions("SHOP", "shop", 900, clock=lambda: now)
    session, seconds = sessions.open("SHOP", "shop")
    assert seconds == 900
    now = 899.9
    sessions.check(session)
    now = 900.0
    with pytest.raises(Refusal, match="ERR-001"):
        sessions.check(session)
    oldest, _ = sessions.open("SHOP", "shop")
    for _ in range(MAX_SESSIONS):
        newest, _ = sessions.open("SHOP", "shop")
    sessions.check(newest)
    with pytest.raises(Refusal, match="ERR-001"):
        sessions.check(oldest)


def test_a_wrong_password_is_refused(customer: Customer) -> None:
    """Login with a wrong password gets ERR-002, and no session."""
    with pytest.raises(zeep.exceptions.Fault, match="ERR-002"):
        customer.call("Login", User="SHOP", Password="wrong")


def test_everything_survives_a_restart(settings: Settings) -> None:
    """Orders, cancellations, shipments and stock are there after a restart; sessions are not, the seed comes once."""
    with running(settings) as server:
        customer = Customer(server.port)
        number = customer.call("CreateSalesOrder", **customer.order("order-1")).OrdNo
        shipment = customer.call("CreateShipment", CustRef="order-1").ShpNo
        customer.call("CancelSalesOrder", CustRef="cancelled")
        old_session = customer.session
    with running(settings) as server:
        customer = Customer(server.port)
        assert customer.on_hand("42") == "000000098"
        assert customer.call("CreateSalesOrder", **customer.order("order-1")).OrdNo == number
        assert customer.call("GetShipmentStatus", CustRef="order-1").ShpNo == shipment
        assert customer.refused("CreateSalesOrder", **customer.order("cancelled"))[0] == "ERR-051"
        customer.session = old_session
        assert customer.refused("CreateShipment", CustRef="order-1")[0] == "ERR-001"


def test_a_shipment_is_on_its_way_for_two_days() -> None:
    """A shipment is created, in transit from its day on, and delivered two days later."""
    day = date(2004, 2, 28)
    statuses = [shipment_status(day, day + timedelta(days=offset)) for offset in (-1, 0, 1, 2, 9)]
    assert statuses == [SHIPMENT_CREATED, IN_TRANSIT, IN_TRANSIT, DELIVERED, DELIVERED]
