"""`python -m tools.docs.sequences --write`: draws `docs/sequences.md` from the traces of a running shop (`make up`).

Without `--write` it compares the document with fresh traces. A diagram is an order's hops as the console has them:
calls in their order, then what they have set off, in the order in which it was set off, so that two runs draw the same.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx

from partners import senders
from shop.process_table import TABLE
from shop.supervisor.keyring import load
from shop.urls import data_dir, url_of
from tools.committed import ROOT
from tools.docs.sequence_diagram import Hop, diagram

DOCUMENT = ROOT / "docs" / "sequences.md"
# Seconds for what a shop does on a busy machine; and for a trace to stay as it is.
_TIMEOUT = 120.0
_QUIET = 2.0
_HEAD = """# Sequences

Drawn from real traces by `python -m tools.docs.sequences --write` against a running shop; a test draws them anew and
compares. A filled arrow is a call whose answer is awaited; an open one is a message or a webhook. It is drawn after the
call that caused it, though both may run at the same time. Answers are left out, and so is the notifier, which sends to
every connected client.
"""
_ABOUT = {
    "An order is placed": (
        "The customer's answer waits for one call only, for the prices; the catalogue looks up the stock for it. All "
        "else happens afterwards."
    ),
    "An order is rejected": "There is not as much in stock as was ordered. What may have been done is undone.",
    "An order is cancelled": "By its customer, after it was confirmed and before it was paid.",
    "A webhook comes twice": "The second delivery has the same id: it is answered, and nothing else happens.",
    "The ERP is away": "The order stays accepted; the step that needs the ERP is repeated until it works.",
}

Trace = Sequence[Mapping[str, Any]]


class Driver:
    """A customer, a partner and the ERP's operator, and the console that saw it all."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._http = httpx.Client(timeout=60, trust_env=False)
        login = {"username": "demo@shop.test", "password": "demo"}  # nosec B105 # the public demo account
        answer = self._http.post(f"{url_of('gateway', env)}/v1/auth/token", data=login).raise_for_status()
        self._customer = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def place(self, quantity: int = 1) -> tuple[str, str]:
        """An order of product 42, and its trace."""
        body = {"items": [{"product_id": "42", "quantity": quantity}]}
        answer = self._http.post(f"{url_of('gateway', self._env)}/v1/orders", json=body, headers=self._customer)
        return answer.raise_for_status().json()["id"], _trace_of(answer)

    def until(self, order_id: str, *wanted: str) -> str:
        """Wait until an order has one of these statuses, by long polling."""
        url, etag = f"{url_of('gateway', self._env)}/v1/orders/{order_id}", ""
        for _ in _polls():
            headers = {**self._customer, "If-None-Match": etag, "Prefer": "wait=5"} if etag else self._customer
            answer = self._http.get(url, headers=headers)
            if answer.status_code == 200 and answer.json()["status"] in wanted:
                return str(answer.json()["status"])
            etag = answer.headers.get("etag", etag)
        raise TimeoutError(f"order {order_id} did not become {' or '.join(wanted)}")

    def cancel(self, order_id: str) -> str | None:
        """The trace of a cancellation; None when it is too late."""
        url = f"{url_of('gateway', self._env)}/v1/orders/{order_id}/cancel"
        answer = self._http.post(url, headers=self._customer)
        return _trace_of(answer) if answer.status_code == 202 else None

    def shopify_twice(self) -> list[str]:
        """The traces of one webhook that is delivered twice."""
        secret = load(data_dir(self._env), TABLE).webhooks["SHOPIFY"]
        sent = senders.examples("shopify", secret=secret, count=1, fault=senders.Fault.DUPLICATE)
        url = f"{url_of('webhooks', self._env)}/webhooks/shopify"
        answers = [self._http.post(url, content=each.body, headers=dict(each.headers)) for each in sent]
        return [_trace_of(answer.raise_for_status()) for answer in answers]

    def maintain_erp(self, *, on: bool) -> None:
        url = f"{url_of('legacy_soap', self._env)}/_faults"
        self._http.post(url, json={"maintenance": on}).raise_for_status()

    def hops(self, trace_id: str, *, has: Callable[[Trace], bool]) -> Trace:
        """A trace's hops, once it `has` what it must and gets no more."""
        found: Trace = ()
        since = time.monotonic()
        for _ in _polls():
            answer = self._http.get(f"{url_of('console', self._env)}/api/traces/{trace_id}/hops")
            now: Trace = answer.json()["hops"] if answer.status_code == 200 else ()
            if len(now) != len(found):
                found, since = now, time.monotonic()
            elif _whole(found) and has(found) and time.monotonic() - since > _QUIET:
                return found
        raise TimeoutError(f"trace {trace_id} did not settle")


def _whole(hops: Trace) -> bool:
    """Whether every hop but the first has its parent: a span that is still open is sent when it ends."""
    ids = {hop["id"] for hop in hops}
    return sum(hop["parent"] not in ids for hop in hops) == 1


def _trace_of(answer: httpx.Response) -> str:
    return str(answer.headers["traceparent"].split("-")[1])


def _polls() -> Iterator[None]:
    end = time.monotonic() + _TIMEOUT
    while time.monotonic() < end:
        yield
        time.sleep(0.1)


def _mails(count: int) -> Callable[[Trace], bool]:
    return lambda hops: sum(hop["protocol"] == "SMTP" for hop in hops) >= count


def traces(driver: Driver) -> Iterator[tuple[str, list[Trace]]]:
    """Each scenario with its traces."""
    order_id, trace = driver.place()
    driver.until(order_id, "shipped")
    yield "An order is placed", [driver.hops(trace, has=_mails(2))]
    order_id, trace = driver.place(quantity=1_000)
    driver.until(order_id, "rejected")
    yield "An order is rejected", [driver.hops(trace, has=lambda hops: _mails(1)(hops) and _calls("Release")(hops))]
    yield "An order is cancelled", [_cancelled(driver)]
    first, second = driver.shopify_twice()
    webhook = driver.hops(first, has=_mails(2))
    yield "A webhook comes twice", [webhook, driver.hops(second, has=bool)]
    driver.maintain_erp(on=True)
    try:
        order_id, trace = driver.place()
        driver.hops(trace, has=lambda hops: any("ERP_MAINTENANCE" in (hop["error"] or "") for hop in hops))
    finally:
        driver.maintain_erp(on=False)
    driver.until(order_id, "shipped")
    yield "The ERP is away", [driver.hops(trace, has=_mails(2))]


def _calls(method: str) -> Callable[[Trace], bool]:
    return lambda hops: any(hop["operation"].endswith(f"/{method}") for hop in hops)


def _cancelled(driver: Driver) -> Trace:
    """The trace of a cancellation in time: the money is collected a moment after the confirmation."""
    for _ in range(10):
        order_id, _trace = driver.place()
        if driver.until(order_id, "confirmed", "paid", "shipped") != "confirmed":
            continue
        if trace := driver.cancel(order_id):
            return driver.hops(trace, has=_calls("Release"))
    raise TimeoutError("every order was paid before it could be cancelled: start the shop with SHOP_PAYMENT_DELAY=5")


def document(driver: Driver) -> str:
    """The whole document."""
    parts = [_HEAD]
    for title, found in traces(driver):
        drawn = diagram([[Hop.of(hop) for hop in trace] for trace in found])
        parts.append(f"\n## {title}\n\n{_ABOUT[title]}\n\n```mermaid\n{drawn}```\n")
    return "".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check or write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="bring docs/sequences.md up to date")
    wanted = parser.parse_args(arguments)
    text = document(Driver(os.environ))
    if wanted.write:
        DOCUMENT.write_text(text)
    if not DOCUMENT.exists() or DOCUMENT.read_text() != text:
        sys.stderr.write("docs/sequences.md is not what the shop does: run python -m tools.docs.sequences --write\n")
        sys.stderr.write(_difference(DOCUMENT.read_text() if DOCUMENT.exists() else "", text))
        return 1
    return 0


def _difference(old: str, new: str) -> str:
    from difflib import unified_diff

    lines = unified_diff(old.splitlines(), new.splitlines(), "docs/sequences.md", "the shop", lineterm="")
    return re.sub(r"$", "\n", "\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
