"""Part of `make bench-edge`: what recording costs, against the same shop that records nothing.

Two shops are compared with one that makes no spans: *full* records every trace and captures the messages, as in
development; *production* records one trace in ten and captures nothing. Each reads a product, places an order and
delivers the order's event to an event stream, in turns in one run. Bar: in production's settings 95 % of the rate. Of a
delivery it is the processor time of the notifier for each order that counts, since its rate is that of the orders.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import httpx

from bench.edge.run import (
    ORDER,
    PRODUCT,
    SIGN_IN,
    UNLIMITED,
    Bench,
    Comparison,
    Contender,
    Process,
    compare,
    rendered,
    show,
)
from bench.roles import RESULTS, Role, role
from shop.started_shop import unwound_by_signals

_LIMITS = {"client_rate_limit": UNLIMITED, "user_rate_limit": UNLIMITED, "sign_in_rate_limit": UNLIMITED}
# By what is recorded and what is done.
_BARS: Mapping[str, Mapping[str, dict[str, float]]] = {
    "production": {"read": {"rate": 0.95}, "order": {"rate": 0.95}, "delivery": {"cpu_us": 1.05}},
    "full": {},
}
_DONE = ("read", "order", "delivery")
_OFF: Mapping[str, Any] = {"otlp_url": "", "trace_sample_ratio": 0.0}
# Seconds: a load may leave events that are still to be sent.
_DELIVERED_WITHIN = 30.0
_POLL = 0.05


@dataclass
class Shop:
    """The part of the shop that an order crosses, and the notifier with one client that receives its events."""

    processes: dict[str, Process]
    headers: dict[str, str]
    listener: Role
    ordered: int = 0

    def check_delivered(self, contender: Contender) -> None:
        """Wait until the client has an event of each order. Raises `RuntimeError` when one is missing."""
        self.ordered += contender.requests
        until = time.monotonic() + _DELIVERED_WITHIN
        while (received := self._received()) < self.ordered:
            if time.monotonic() > until:
                raise RuntimeError(f"{contender.name}: {received} events of {self.ordered} orders were delivered")
            time.sleep(_POLL)

    def _received(self) -> int:
        self.listener.send("count")
        return int(self.listener.receive())

    def contenders(self, name: str) -> dict[str, Contender]:
        """The contenders, by the work that is done."""
        gateway = self.processes["gateway"]
        reading = {"url": gateway.url + PRODUCT, "headers": self.headers}
        ordering = {
            "url": f"{gateway.url}/v1/orders",
            "method": "POST",
            "body": ORDER,
            "headers": {**self.headers, "Idempotency-Key": "{n}"},
        }
        inside = [self.processes[each] for each in ("gateway", "users", "inventory", "catalog", "orders")]
        return {
            "read": Contender(f"GET a product, {name}", reading, inside),
            "order": Contender(f"POST an order, {name}", ordering, inside, "202"),
            "delivery": Contender(f"its event to a client, {name}", ordering, [self.processes["notifier"]], "202"),
        }


def _shop(bench: Bench, stack: ExitStack, folder: Path, recording: Mapping[str, Any]) -> Shop:
    folder.mkdir()
    found: dict[str, Process] = {}
    for name in ("users", "inventory", "catalog", "orders", "notifier", "gateway"):
        known = {f"{other}_address": process.address for other, process in found.items()}
        own = {**_LIMITS, "edge_cache_bytes": 0} if name == "gateway" else {}
        found[name] = bench.service(name, folder, **recording, **known, **own)
    response = httpx.post(f"{found['gateway'].url}/v1/auth/token", data=SIGN_IN)
    response.raise_for_status()
    token = response.json()["access_token"]
    listener = stack.enter_context(role("bench.realtime.roles", "listener", str(found["notifier"].port), token))
    listener.receive()
    return Shop(found, {"Authorization": f"Bearer {token}"}, listener)


@unwound_by_signals()
def main() -> int:
    """Measure, print, write `bench/results/edge-recording.json`, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="turns that each of two gets")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--only", choices=_DONE, nargs="+", default=_DONE, help="what is done")
    arguments = parser.parse_args()
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="bench-recording-") as folder:
        bench = Bench(stack, Path(folder))
        spans = bench.start("collector").url
        shops = {
            "off": _OFF,
            "production": {"otlp_url": spans},
            "full": {"otlp_url": spans, "trace_sample_ratio": 1.0, "capture": True},
        }
        found = {name: _shop(bench, stack, Path(folder) / name, recording) for name, recording in shops.items()}
        comparisons = []
        for done, name in product(arguments.only, _BARS):
            comparison = _comparison(found, done, name)
            comparisons.append(comparison)
            compare(bench, comparison, arguments.rounds, arguments.seconds)
            if done != "read":
                found[name].check_delivered(comparison.ours)
                found["off"].check_delivered(comparison.floor)
        stack.close()
    held = [show(comparison) for comparison in comparisons]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "edge-recording.json").write_text(json.dumps(rendered(comparisons), indent=2) + "\n")
    return 0 if all(held) else 1


def _comparison(shops: Mapping[str, Shop], done: str, name: str) -> Comparison:
    ours, off = (shops[each].contenders(each)[done] for each in (name, "off"))
    return Comparison(f"{done}, {name}", ours, off, _BARS[name].get(done, {}))


if __name__ == "__main__":
    sys.exit(main())
