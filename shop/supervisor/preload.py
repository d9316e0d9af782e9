"""Preloading: modules that the supervisor imports once for all processes that it forks."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterable
from importlib import import_module

from shop.process_table import ProcessSpec

log = logging.getLogger(__name__)

# What processes import only when they run: database drivers, the spans' exporter, a server's loop and protocol.
MODULES = (
    "aiosqlite",
    "alembic.command",
    "alembic.environment",
    "chassis.broker.embedded.adapter",
    "grpc_reflection.v1alpha.reflection",
    "httpcore",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "requests",
    "sqlalchemy.dialects.sqlite.aiosqlite",
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
    gc.freeze()
    gc.enable()
