"""`make bench-start`: how long the shop takes to start, what memory it takes, and how fast an idle one takes orders.

Bars: every process ready in 4 s, 560 MB (PSS) together, an order accepted in 15 ms at the median, `shipped` within 1 s
of its payment. Exit code 1 when one is missed. Times say little on another machine or a busy one, hence the floors.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import floors
from bench.roles import RESULTS
from bench.shop import RunningShop, fresh_shop
from shop import sign_in
from shop.gateway_client import Gateway
from shop.started_shop import unwound_by_signals

ORDER_TIMEOUT = 30.0
_POLL = 0.02
# So many orders, then as many rounds of each floor: a machine that slows down slows both.
FLOOR_EVERY = 10
# Taken in turn: of each there are a hundred.
PRODUCTS = ("1", "2", "3", "4", "5", "42", "123")

READY_BAR_S = 4.0
PSS_BAR_MB = 560.0
ACCEPTED_BAR_MS = 15.0
SHIPPED_BAR_MS = 1_000.0


@unwound_by_signals()
def main() -> int:
    """Measure, print a table, write it to `bench/results/start.json`, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=3, help="how often to start a shop")
    parser.add_argument("--orders", type=int, default=50, help="how many orders to place in the last one")
    arguments = parser.parse_args()
    if min(arguments.starts, arguments.orders) < 1:
        parser.error("at least one start and one order")

    imports, starts, memory = [], [], []
    orders: dict[str, Any] = {}
    for number in range(arguments.starts):
        imports.append(floors.import_seconds())
        with fresh_shop() as shop:
            starts.append(shop.ready_seconds)
            memory.append(shop.pss_mb())
            if number == arguments.starts - 1:
                orders = _orders(shop, arguments.orders)
    machine = {"cores": os.cpu_count(), "load_1m": os.getloadavg()[0]}
    result = {"machine": machine, "starts": _starts(starts, imports), "memory": _memory(memory), "orders": orders}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "start.json").write_text(json.dumps(result, indent=2) + "\n")
    missed = show(result)
    return 1 if missed else 0


def _starts(seconds: list[float], imports: list[float]) -> dict[str, Any]:
    ready, floor = statistics.median(seconds), statistics.median(imports)
    return {"seconds": seconds, "median_s": ready, "import_floor_s": floor, "ratio": ready / floor}


def _memory(pss: list[dict[str, float]]) -> dict[str, Any]:
    """Memory of the first start, by process; the sums of all, and their median, None where memory cannot be read."""
    sums = [sum(each.values()) for each in pss]
    return {"sums_mb": sums, "median_mb": statistics.median(sums) or None, "processes_mb": pss[0]}


def _orders(shop: RunningShop, count: int) -> dict[str, Any]:
    """Place orders one after the other, each when the one before has been shipped; the floors run in between."""
    with tempfile.TemporaryDirectory(prefix="bench-floor-") as folder, Gateway(shop.url("gateway")) as gateway:
        token = gateway.sign_in(sign_in.CUSTOMER, sign_in.password_of(sign_in.CUSTOMER))
        address = urlsplit(shop.url("gateway"))
        # The plainest client there is: what is measured should be the shop.
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
        accepted, shipped, commits, hops = [], [], [], []
        for number in range(count):
            if number % FLOOR_EVERY == 0:
                commits += floors.commit_ms(Path(folder), FLOOR_EVERY)
                hops += floors.hop_ms(FLOOR_EVERY)
            order_id, took = _place(connection, token, PRODUCTS[number % len(PRODUCTS)])
            accepted.append(took)
            shipped.append(_paid_to_shipped(gateway, order_id))
        connection.close()
    commit, hop = statistics.median(commits), statistics.median(hops)
    ordered = sorted(accepted)
    return {
        "accepted_median_ms": statistics.median(accepted),
        "accepted_p95_ms": ordered[int(0.95 * (count - 1))],
        "commit_floor_ms": commit,
        "hop_floor_ms": hop,
        "ratio": statistics.median(accepted) / (commit + hop),
        "paid_to_shipped_median_ms": statistics.median(shipped),
        "paid_to_shipped_max_ms": max(shipped),
        "pss_after_mb": sum(shop.pss_mb().values()) or None,
    }


def _place(connection: http.client.HTTPConnection, token: str, product_id: str) -> tuple[str, float]:
    """Place an order; returns its id and the milliseconds until it was accepted."""
    body = json.dumps({"items": [{"product_id": product_id, "quantity": 1}]})
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Idempotency-Key": uuid.uuid4().hex,
    }
    began = time.perf_counter()
    connection.request("POST", "/v1/orders", body, headers)
    response = connection.getresponse()
    content = response.read()
    took = (time.perf_counter() - began) * 1000
    if response.status != http.client.ACCEPTED:
        raise RuntimeError(f"the order was answered {response.status}: {content[:500]!r}")
    return str(json.loads(content)["id"]), took


def _paid_to_shipped(gateway: Gateway, order_id: str) -> float:
    """Wait until the order is shipped; the milliseconds between the two events' own times."""
    deadline = time.monotonic() + ORDER_TIMEOUT
    while True:
        events = gateway.call("GET", f"/v1/orders/{order_id}/events").json()["items"]
        times = {event["type"]: datetime.fromisoformat(event["time"]) for event in events}
        if "order.shipped" in times:
            return (times["order.shipped"] - times["order.paid"]).total_seconds() * 1000
        if time.monotonic() > deadline:
            raise RuntimeError(f"order {order_id} was not shipped within {ORDER_TIMEOUT:.0f} s: {sorted(times)}")
        time.sleep(_POLL)


def show(result: dict[str, Any]) -> bool:
    """Print the figures beside their bars and floors; returns whether a bar was missed."""
    starts, memory, orders = result["starts"], result["memory"], result["orders"]
    imports = f"{starts['ratio']:.1f} x one interpreter's imports ({starts['import_floor_s']:.2f} s)"
    floor = (
        f"{orders['ratio']:.1f} x a commit ({orders['commit_floor_ms']:.2f}) and a hop ({orders['hop_floor_ms']:.2f})"
    )
    rows = [
        ("every process ready", starts["median_s"], READY_BAR_S, "s", imports),
        (
            "memory (PSS) when ready",
            memory["median_mb"],
            PSS_BAR_MB,
            "MB",
            f"of {len(memory['processes_mb'])} processes",
        ),
        ("memory (PSS) after the orders", orders["pss_after_mb"], None, "MB", ""),
        ("order accepted, median", orders["accepted_median_ms"], ACCEPTED_BAR_MS, "ms", floor),
        ("order accepted, 95 %", orders["accepted_p95_ms"], None, "ms", ""),
        ("paid to shipped, median", orders["paid_to_shipped_median_ms"], SHIPPED_BAR_MS, "ms", ""),
        ("paid to shipped, longest", orders["paid_to_shipped_max_ms"], None, "ms", ""),
    ]
    for what, figure, bar, unit, remark in rows:
        if figure is None:
            sys.stdout.write(f"{what:<30} NOT MEASURED: no /proc\n")
            continue
        verdict = "" if bar is None else f"bar {bar:g} {unit}: {'held' if figure <= bar else 'MISSED'}"
        sys.stdout.write(f"{what:<30} {figure:>9.2f} {unit:<2}  {verdict:<22} {remark}".rstrip() + "\n")
    machine = result["machine"]
    sys.stdout.write(f"on {machine['cores']} cores, load average {machine['load_1m']:.1f} over the last minute\n")
    for name, figure in sorted(memory["processes_mb"].items(), key=lambda item: -item[1]):
        sys.stdout.write(f"    {name:<18} {figure:>6.1f} MB\n")
    return any(bar is not None and figure is not None and figure > bar for _, figure, bar, _, _ in rows)


if __name__ == "__main__":
    sys.exit(main())
