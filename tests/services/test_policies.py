"""Who may call what, for every method of every gRPC service."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from chassis.auth.identity import ANONYMOUS, Principal

ROOT = Path(__file__).parents[2]
SERVICES = {
    "users": "UserService",
    "catalog": "CatalogService",
    "orders": "OrderService",
    "inventory": "InventoryService",
    "storage": "StorageService",
    "erp": "ErpService",
    "reports": "ReportService",
}
CALLERS = {
    "nobody": ANONYMOUS,
    "customer": Principal("u1", "customer"),
    "admin": Principal("1", "admin"),
    **{
        name: Principal(name, "service")
        for name in (
            "orders",
            "order_worker",
            "webhooks",
            "webhook_worker",
            "inventory",
            "notifier",
            "mailer",
            "gateway",
            "mcp_server",
        )
    },
}
EVERYBODY = frozenset(CALLERS)
SIGNED_IN = EVERYBODY - {"nobody"}
SAGA = frozenset({"orders", "order_worker"})
PARTNERS = frozenset({"webhook_worker"})

# method -> who may call it; the design's table, written a second time on purpose
ALLOWED: dict[str, dict[str, frozenset[str]]] = {
    "users": {
        **dict.fromkeys(["IssueToken", "IssueServiceToken", "GetJwks", "RegisterUser"], EVERYBODY),
        "GetUsers": SIGNED_IN,
        **dict.fromkeys(["RegisterClient", "GetClient", "AuthorizeClient", "RedeemCode"], EVERYBODY),
        "ExchangeToken": frozenset({"mcp_server"}),
    },
    "catalog": {
        **dict.fromkeys(["GetProducts", "ListProducts"], EVERYBODY),
        "QuoteItems": SIGNED_IN,
        **dict.fromkeys(["CreateProduct", "UpdateProduct", "DeleteProduct"], frozenset({"admin"})),
        "RefreshMaterial": PARTNERS,
    },
    "orders": {
        **dict.fromkeys(
            ["PlaceOrder", "GetOrder", "GetOrders", "ListOrders", "CancelOrder", "ListOrderEvents", "WatchOrder"],
            SIGNED_IN,
        ),
        **dict.fromkeys(["MarkPaid", "MarkPaymentFailed", "RecordDelivery", "PlaceChannelOrder"], PARTNERS),
        "ListRecords": frozenset({"admin"}),
    },
    "inventory": {
        "CheckAvailability": EVERYBODY,
        **dict.fromkeys(["Reserve", "Confirm", "Release", "Ship"], SAGA),
        **dict.fromkeys(["SyncStock", "ListReservations", "ListStock"], frozenset({"admin"})),
    },
    "storage": {"UploadFile": SIGNED_IN, "DownloadFile": EVERYBODY, "StatFile": EVERYBODY},
    "erp": {
        **dict.fromkeys(["GetStockLevels", "PostGoodsReceipt"], frozenset({"inventory"})),
        **dict.fromkeys(
            ["RegisterSalesOrder", "CancelSalesOrder", "CreateShipment", "GetShipment"], frozenset({"order_worker"})
        ),
        "ListSalesOrders": frozenset({"admin"}),
    },
    "reports": {
        **dict.fromkeys(["GetSales", "StartRebuild", "GetRebuild"], frozenset({"admin"})),
        "GetProgress": EVERYBODY,
    },
}


def policy_of(name: str) -> Any:
    return import_module(f"services.{'erp_adapter' if name == 'erp' else name}.grpc_api").POLICY


def methods_of(name: str) -> set[str]:
    descriptor = import_module(f"protos.shop.{name}.v1.{name}_pb2").DESCRIPTOR
    return {method.name for method in descriptor.services_by_name[SERVICES[name]].methods}


def test_every_service_with_an_api_is_here() -> None:
    """A service whose policy is not written here a second time fails."""
    found = {path.parent.name for path in (ROOT / "services").glob("*/grpc_api.py")}
    assert {"erp_adapter" if name == "erp" else name for name in SERVICES} == found


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_method_has_a_policy(name: str) -> None:
    """What the contract offers has a rule, and there is no rule for what it does not."""
    assert set(policy_of(name)) == methods_of(name)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_policy_admits_exactly_whom_it_should(name: str) -> None:
    """Each method admits its callers and no other: neither another process nor a customer."""
    admitted = {
        method: frozenset(caller for caller, principal in CALLERS.items() if rule(principal))
        for method, rule in policy_of(name).items()
    }
    assert admitted == {method: ALLOWED[name][method] for method in admitted}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_caller_without_a_role_is_admitted_where_a_role_is_needed(name: str) -> None:
    """A token that names a process or user but no role of ours opens nothing that a role is needed for."""
    roleless = Principal("webhooks", "")
    opened = {method for method, rule in policy_of(name).items() if rule(roleless)}
    assert opened <= {method for method, callers in ALLOWED[name].items() if callers in (EVERYBODY, SIGNED_IN)}
