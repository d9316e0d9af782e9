"""Builds the ERP from its settings, serves it with waitress, and ends it without dropping a call."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from wsgiref.types import WSGIApplication

from waitress.server import BaseWSGIServer
from waitress.wasyncore import close_all, dispatcher

from legacy_soap.erp import Erp
from legacy_soap.http.server import Server
from legacy_soap.http.wsgi import MAX_BYTES, NO_FAULTS, WSDL_ADDRESS, Faults, FrontDoor
from legacy_soap.logs import log_to_stdout
from legacy_soap.seed import DEMO_STOCK
from legacy_soap.sessions import Sessions

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """Settings of the ERP. Port 0: a free one; `stock`: AltRef -> pieces at the first start (None: demo)."""

    host: str = "127.0.0.1"
    port: int = 8020
    data_dir: Path = Path(".shop")
    user: str = "SHOP"
    password: str = "shop"  # noqa: S105 - a demo account of their system
    session_seconds: int = 900
    faults: Faults = NO_FAULTS
    stock: Mapping[str, int] | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the SHOP_… variables. Raises `ValueError`, naming the variable, for one that cannot be read."""
        return cls(
            host=environ.get("SHOP_HOST", cls.host),
            port=_number(environ, "SHOP_LEGACY_SOAP_PORT", cls.port),
            data_dir=Path(environ.get("SHOP_DATA_DIR", cls.data_dir)),
            user=environ.get("SHOP_LEGACY_SOAP_USER", cls.user),
            password=environ.get("SHOP_LEGACY_SOAP_PASSWORD", cls.password),
            session_seconds=_number(environ, "SHOP_LEGACY_SOAP_SESSION_SECONDS", cls.session_seconds),
            faults=_faults(environ, "SHOP_LEGACY_SOAP_FAULTS"),
            stock={} if environ.get("SHOP_LEGACY_SOAP_SEED") == "none" else None,
        )


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        message = f"{name} is wrong: it must be a whole number"
        raise ValueError(message)
    return int(text)


def _faults(environ: Mapping[str, str], name: str) -> Faults:
    try:
        return Faults.from_json(environ.get(name, "{}"))
    except ValueError as error:
        message = f"{name} is wrong: {error}"
        raise ValueError(message) from error


@dataclass(frozen=True, slots=True)
class Running:
    """The address on which the ERP listens."""

    port: int


def _alone(application: WSGIApplication) -> WSGIApplication:
    return application


@contextmanager
def running(settings: Settings, *, around: Callable[[WSGIApplication], WSGIApplication] = _alone) -> Iterator[Running]:
    """Serve the ERP while the block runs, then finish the calls in flight. Raises `OSError` for a taken port.

    `around` puts WSGI middleware of the house that runs it around its application.
    """
    # Here: Spyne takes a tenth of a second to import, which a reader of settings alone need not pay.
    from legacy_soap.soap_api import soap_application

    sessions = Sessions(settings.user, settings.password, settings.session_seconds)
    stock = DEMO_STOCK if settings.stock is None else settings.stock
    with closing(Erp(settings.data_dir / "legacy_soap.sqlite", stock)) as erp:
        front = FrontDoor(soap_application(erp, sessions, WSDL_ADDRESS), settings.faults)
        # A socket of our own: waitress would open one for each address that a name has, and start its threads first.
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family)
        server = Server(around(front), listener, max_body=MAX_BYTES + 1)
        loop = threading.Thread(target=server.run, name="waitress")
        loop.start()
        try:
            yield Running(int(server.effective_port))
        finally:
            front.close()
            _drain(server)
            loop.join()


def _drain(server: BaseWSGIServer) -> None:
    """Stop listening, wait for the calls in flight, then end waitress's loop, all of it from within that loop."""
    server.trigger.pull_trigger(lambda: dispatcher.close(server))
    deadline = time.monotonic() + DRAIN_SECONDS
    while _busy(server) and time.monotonic() < deadline:
        time.sleep(0.01)
    server.task_dispatcher.shutdown()
    # Waitress's loop ends when there is nothing left to watch. Under the lock that its callbacks are run under, because
    # one that came with an earlier pull would close the trigger before it is pulled.
    with server.trigger.lock:
        server.trigger.thunks.append(lambda: close_all(server._map))  # noqa: SLF001 - it has no other name
        server.trigger._physical_pull()  # noqa: SLF001


def _busy(server: BaseWSGIServer) -> bool:
    channels = list(server.active_channels.values())
    return any(channel.requests or channel.total_outbufs_len for channel in channels)


def main(serve: Callable[[Settings], AbstractContextManager[Running]] = running) -> None:
    """Serve until SIGTERM or SIGINT. Configured by environment variables; notifies SHOP_READY_FD once it listens."""
    log_to_stdout(os.environ.get("SHOP_LOG_FORMAT", ""))
    # Spyne logs every refused call with its traceback, waitress every client that leaves.
    logging.getLogger("spyne").setLevel(logging.CRITICAL)
    logging.getLogger("waitress").setLevel(logging.ERROR)
    # Blocked before the first thread starts, so that they reach only `sigwait`.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    # Before the first thread, too: the environment is not changed while others may read it.
    ready = os.environ.pop("SHOP_READY_FD", "")
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        log.critical("%s", error)
        sys.exit(2)
    try:
        with serve(settings) as server:
            if ready:
                _report_ready(int(ready))
            log.info("listening on port %s", server.port)
            signal.sigwait(signals)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        log.critical(
            "legacy_soap cannot listen on port %s (%s); SHOP_LEGACY_SOAP_PORT moves it", settings.port, error.strerror
        )
        sys.exit(1)


def _report_ready(descriptor: int) -> None:
    os.write(descriptor, b"\n")
    os.close(descriptor)
