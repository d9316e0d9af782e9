"""Preloading: modules that the supervisor imports once for all processes that it forks."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module

from chassis.settings import ProcessSettings
from shop.process_table import ProcessSpec

log = logging.getLogger(__name__)

# What processes import only when they run: database drivers, exporters, host names' encoding, a server's loop and
# protocol.
MODULES = (
    "aiosqlite",
    "chassis.broker.embedded.adapter",
    "chassis.broker.forwarding",
    "chassis.grpc.identity_provider",
    "chassis.http.health",
    "chassis.observability.log_export",
    "chassis.observability.span_export",
    "chassis.observability.telemetry",
    "encodings.idna",
    "grpc_reflection.v1alpha.reflection",
    "httpcore",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "uvicorn.lifespan.off",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvloop",
)


def preload(specs: Iterable[ProcessSpec]) -> None:
    """Import what these processes need, and put all that exists then out of the garbage collector's sight.

    A collection would write to every object's header, and so copy in each child the pages that it shares. A process
    that cannot be imported is left to say so itself. What is forked later, after a crash, is the code of now: to try
    an edited file, start the shop anew (or with SHOP_START_METHOD=spawn).
    """
    # gRPC's fork handlers are for forking while it works, which we do not: its threads start in the children.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    gc.disable()
    for module in MODULES:
        import_module(module)
    for spec in specs:
        for module in (spec.entry.partition(":")[0], *spec.late):
            try:
                import_module(module)
            except Exception:
                log.debug("%s cannot be imported", module, exc_info=True)
    _read_settings()
    gc.freeze()
    gc.enable()


def _read_settings() -> None:
    """Read the settings once for all processes, which read them again.

    That checks instances of abstract classes. The first time each goes through all its subclasses, which are all
    over the memory, and remembers what it found: 2 MB of copied pages in each process that did so itself.
    """
    with suppress(ValueError):  # a process reports itself what it cannot read
        ProcessSettings()
