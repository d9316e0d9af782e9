"""The banner of a started shop: addresses and first commands."""

from __future__ import annotations

from collections.abc import Collection, Mapping

# Process, what it offers, the setting that says where, and the path there.
_OFFERS = (
    ("console", "console", "SHOP_CONSOLE_URL", "/"),
    ("gateway", "REST", "SHOP_GATEWAY_URL", "/docs"),
    ("gateway", "GraphQL", "SHOP_GATEWAY_URL", "/graphql"),
    ("notifier", "WebSocket", "SHOP_NOTIFIER_URL", "/notifications"),
    ("webhooks", "webhooks", "SHOP_WEBHOOKS_URL", "/webhooks/stripe"),
    ("legacy_soap", "ERP", "SHOP_LEGACY_SOAP_URL", "/?wsdl"),
)


def banner(shared: Mapping[str, str], running: Collection[str]) -> str:
    """URLs of what is running, demo sign-ins and a first curl; `shared` is the environment that all processes share."""
    lines = [f"  {label:<10} {shared[setting]}{path}" for name, label, setting, path in _OFFERS if name in running]
    lines = [line.replace("http", "ws", 1) if "WebSocket" in line else line for line in lines]
    if "gateway" in running:
        lines += [
            "",
            "  Sign in as demo@shop.test / demo (a customer) or admin@shop.test / admin.",
            "",
            "  A first question, and the way of an order, in another terminal:",
            "",
            f"    curl {shared['SHOP_GATEWAY_URL']}/v1/products/42",
            "    make tour",
        ]
    return "\n".join(["", *lines, "", "  Ctrl-C stops everything.", "", ""])
