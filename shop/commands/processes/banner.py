"""The banner of a started shop: addresses and first commands."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import Any

from chassis.settings import ProcessSettings
from shop.commands.processes.certs import AUTHORITY

# Process, what it offers, the setting with its address, and the path there.
_OFFERS = (
    ("console", "console", "SHOP_CONSOLE_URL", "/"),
    ("gateway", "REST", "SHOP_GATEWAY_URL", "/docs"),
    ("gateway", "GraphQL", "SHOP_GATEWAY_URL", "/graphql"),
    ("notifier", "WebSocket", "SHOP_NOTIFIER_URL", "/notifications"),
    ("webhooks", "webhooks", "SHOP_WEBHOOKS_URL", "/webhooks/stripe"),
    ("legacy_soap", "ERP", "SHOP_LEGACY_SOAP_URL", "/?wsdl"),
)


def banner(shared: Mapping[str, str], running: Collection[str]) -> str:
    """URLs of what is running, demo sign-ins and a first curl; `shared` is the environment that all processes share.

    Without the demo data there is no account to sign in with or to tour as, and no product 42.
    """
    demo = _has_demo_data(shared)
    lines = [f"  {label:<10} {shared[setting]}{path}" for name, label, setting, path in _OFFERS if name in running]
    lines = [line.replace("http", "ws", 1) if "WebSocket" in line else line for line in lines]
    if "gateway" in running:
        folder = shared.get("SHOP_TLS_DIR", "")
        trusted = f"--cacert {shlex.quote(f'{folder}/{AUTHORITY}')} " if folder else ""
        curl = f"    curl {trusted}{shared['SHOP_GATEWAY_URL']}/v1/products"
        if demo:
            lines += [
                "",
                "  Sign in as demo@shop.test / demo (a customer) or admin@shop.test / admin.",
                "",
                "  A first question, and the way of an order, in another terminal:",
                "",
                f"{curl}/42",
                "    make tour",
            ]
        else:
            lines += ["", "  A first question, in another terminal:", "", curl]
    return "\n".join(["", *lines, "", "  Ctrl-C stops everything.", "", ""])


def _has_demo_data(shared: Mapping[str, str]) -> bool:
    given: dict[str, Any] = {
        "env": shared.get("SHOP_ENV") or "development",
        "demo_data": shared.get("SHOP_DEMO_DATA") or None,
    }
    settings = ProcessSettings(**given)
    return settings.env != "production" and settings.demo()
