"""The ERP on a free port, as its customers see it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zeep

from legacy_soap.bootstrap import Running, Settings, running

STOCK = {"42": 100, "7": 3}


class Customer:
    """A customer of the ERP: a zeep client with a session."""

    def __init__(self, port: int) -> None:
        self.port = port
        settings = zeep.Settings(forbid_dtd=True, forbid_entities=True, forbid_external=True)
        self._service = zeep.Client(f"http://127.0.0.1:{port}/?wsdl", settings=settings).service  # type: ignore[no-untyped-call]
        self.session = self._service.Login("SHOP", "shop").SessionId

    def call(self, operation: str, **fields: Any) -> Any:
        """Call an operation in this session; a fault is raised as `zeep.exceptions.Fault`."""
        return self._service[operation](**fields, _soapheaders={"SessionHeader": {"SessionId": self.session}})

    def refused(self, operation: str, **fields: Any) -> tuple[str, str]:
        """The code and item of the fault that a call gets."""
        with pytest.raises(zeep.exceptions.Fault) as caught:
            self.call(operation, **fields)
        detail = caught.value.detail
        return detail.findtext("ErpError/Code"), detail.findtext("ErpError/Item")

    def order(self, reference: str, quantity: int = 2, product: str = "42", cents: int = 4900) -> dict[str, Any]:
        """The fields of a CreateSalesOrder."""
        line = {"AltRef": product, "Qty": f"{quantity:09d}", "UnitPrc": f"{cents:09d}"}
        return {
            "CustRef": reference,
            "CustNo": "123",
            "OrdDate": "20040201",
            "Curr": "EUR",
            "Lines": {"OrderLine": [line]},
        }

    def on_hand(self, product: str) -> str:
        """The stock of a product as the ERP writes it."""
        lines = self.call("GetStockLevel", Articles={"ArticleRef": [{"AltRef": product}]})
        on_hand: str = lines[0].OnHand
        return on_hand


def http_call(
    port: int, method: str, path: str = "/", body: bytes = b"", content_type: str = "text/xml"
) -> tuple[int, str, bytes]:
    """Status, content type and body of a bare HTTP call."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": content_type} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()


def switch_faults(port: int, **faults: Any) -> None:
    """Switch the ERP's faults on demand; none of them ends all."""
    assert http_call(port, "POST", "/_faults", json.dumps(faults).encode(), "application/json")[0] == 200


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An ERP of its own for each test."""
    return Settings(port=0, data_dir=tmp_path, stock=STOCK)


@pytest.fixture
def erp(settings: Settings) -> Iterator[Running]:
    """The ERP, running."""
    with running(settings) as server:
        yield server


@pytest.fixture
def customer(erp: Running) -> Customer:
    """A customer who is logged in."""
    return Customer(erp.port)
