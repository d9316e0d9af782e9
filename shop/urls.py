"""URLs of a running shop, for the commands that talk to it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from chassis.auth.tls import client_context
from shop.commands.processes.certs import AUTHORITY
from shop.errors import Refused
from shop.process_table import TABLE, Port
from shop.supervisor import state
from shop.supervisor.ports import reachable


def url_of(process: str, env: Mapping[str, str]) -> str:
    """The URL of a process's port, without a slash at its end: of several ports, the first that has a URL.

    What the environment has comes first (`SHOP_GATEWAY_URL`, then `SHOP_GATEWAY_PORT`), then what runs in the data
    directory, then the default.
    """
    ports = next(spec.ports for spec in TABLE if spec.name == process)
    port = next((each for each in ports if any(name.endswith("_URL") for name in each.addresses)), ports[0])
    for setting in port.addresses:
        if env.get(setting):
            return env[setting].rstrip("/")
    host = reachable(env.get("SHOP_HOST") or "127.0.0.1")
    scheme = port.scheme("_URL", tls=bool(env.get("SHOP_TLS_DIR")))
    return f"{scheme}{f'[{host}]' if ':' in host else host}:{_number(port, env)}"


def trust(env: Mapping[str, str]) -> ssl.SSLContext | None:
    """TLS trust for HTTPS and WSS: the authority in SHOP_TLS_DIR; None where TLS is off."""
    folder = env.get("SHOP_TLS_DIR")
    if not folder:
        return None
    authority = Path(folder) / AUTHORITY
    if not authority.is_file():
        raise Refused(f"{authority} is missing (SHOP_TLS_DIR); `shop certs` makes certificates for development")
    return client_context(authority)


def data_dir(env: Mapping[str, str]) -> Path:
    """The shop's data directory."""
    return Path(env.get("SHOP_DATA_DIR") or ".shop").absolute()


def elsewhere(env: Mapping[str, str]) -> str:
    """The setting that names a gateway on another machine, as in a container; empty where the shop is on this one."""
    url = env.get("SHOP_GATEWAY_URL", "")
    return f"SHOP_GATEWAY_URL={url}" if urlsplit(url).hostname not in (None, "localhost", "127.0.0.1", "::1") else ""


def _number(port: Port, env: Mapping[str, str]) -> int:
    chosen = env.get(port.setting, "")
    if chosen.isdigit() and int(chosen):
        return int(chosen)
    return state.ports_of_running(data_dir(env)).get(port.setting, port.default)
