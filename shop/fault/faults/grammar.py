"""Faults from words: the same on the command line, in a scenario's file and in the console."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from shop.errors import Refused
from shop.fault.faults import connections
from shop.fault.faults.clock import Clock
from shop.fault.faults.ground import Fault, Ground
from shop.fault.faults.partners import ErpFault, PartnerFault
from shop.fault.faults.poison import Poison
from shop.fault.faults.processes import Freeze, Kill

# Word -> how it is written, and what it does.
KINDS: Mapping[str, tuple[str, str]] = {
    "kill": ("kill PROCESS… [signal=15]", "kills processes; the supervisor restarts them"),
    "freeze": ("freeze PROCESS…", "pauses processes: alive, connected and silent"),
    "link": (
        "link A:B delay=50ms|jitter=…|rate=…|cut=N|reset|black-hole|half-open|refuse|alarm [direction=answer]",
        "breaks one link between two processes",
    ),
    "broker": (
        "broker down|slow|silent|alarm",
        "all links to RabbitMQ, or the embedded broker's file; alarm: as without memory or disk, nothing is accepted",
    ),
    "database": (
        "database down|slow|silent|full [SERVICE]",
        "links to PostgreSQL, or a service's SQLite file; full: nothing can be written there any more",
    ),
    "erp": ("erp delay[=800ms]|maintenance|html|contract-changed", "the legacy ERP misbehaves"),
    "partner": ("partner duplicate|late|forged|out-of-order|slow|flood [provider=…] [count=…]", "bad webhooks"),
    "clock": (
        "clock [PROCESS…] ahead=1h|behind=10min",
        "the wall clock of processes (or of all) is wrong, and right again; monotonic clocks stay as they are",
    ),
    "poison": ("poison QUEUE", "events that no consumer can read"),
}


def parse(text: str, ground: Ground) -> Fault:
    """The fault that these words name. Raises `Refused` with what to write instead."""
    try:
        kind, *words = shlex.split(text) or [""]
    except ValueError as error:
        raise Refused(f"{text}: {error}") from error
    if kind not in KINDS:
        raise Refused(f"unknown fault {kind or '(none)'}; known: {', '.join(KINDS)}")
    if kind == "link":
        return connections.link(ground, words)
    if kind in ("broker", "database"):
        return connections.server(ground, kind, words)
    plain = [word for word in words if "=" not in word or word.startswith("delay=")]
    options = dict(word.split("=", 1) for word in words if word not in plain)
    build: Mapping[str, Callable[[], Fault]] = {
        "kill": lambda: Kill(ground, plain, options),
        "freeze": lambda: Freeze(ground, plain),
        "erp": lambda: ErpFault(ground, plain),
        "partner": lambda: PartnerFault(ground, plain, options),
        "clock": lambda: Clock(ground, plain, options),
        "poison": lambda: Poison(ground, plain),
    }
    fault = build[kind]()
    if options:
        raise Refused(f"{kind} has no option {', '.join(options)}; write {KINDS[kind][0]}")
    return fault
