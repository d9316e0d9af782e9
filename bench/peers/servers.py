"""The servers of `bench.peers`: ours as `shop` runs them, Node's as their documentation has them run in production."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import orjson

from bench.edge.run import PRODUCT, SIGN_IN, UNLIMITED, Bench, Contender, Process
from bench.graphql.run import QUERY
from bench.npm import installed, node
from bench.realtime.crowd import crowd, websocket
from bench.realtime.roles import an_event
from bench.realtime.run import ROLES as REALTIME_ROLES
from bench.realtime.run import Contender as Fan
from bench.realtime.run import event_size, notifier
from bench.roles import Role, free_port, role, serving
from chassis.broker.port import Event

NODE = Path(__file__).parents[1] / "node"
ROOT = Path(__file__).parents[2]
_SAMPLED = "0.1"


class Servers:
    """Starts servers, each a process of its own, that end with the stack."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        """`folder` for what they write. Raises `NpmMissing`."""
        self.stack = stack
        self.folder = folder
        self._node = node()
        self._modules = installed(NODE) / "node_modules"
        self.bench = Bench(stack, folder)
        self.collector = self.bench.start("collector").url

    def ours(self, module: str, name: str, **settings: str) -> Process:
        """A process of the shop, with what production has it do."""
        port = free_port()
        own = {
            f"SHOP_{name.upper()}_PORT": str(port),
            "SHOP_DATA_DIR": str(self.folder),
            "SHOP_OTLP_URL": self.collector,
            "SHOP_TRACE_SAMPLE_RATIO": _SAMPLED,
            "SHOP_CAPTURE": "0",
            "SHOP_LOG_FORMAT": "json",
        }
        log = self.folder / f"{name}.log"
        started = serving([sys.executable, "-m", module], {**own, **settings}, log)
        return Process(name, self.stack.enter_context(started), port)

    def peer(self, name: str, program: str, **settings: Any) -> Process:
        """A program of the folder `node`."""
        port = free_port()
        environment = {"NODE_ENV": "production", "NODE_PATH": str(self._modules)}
        command = [self._node, str(NODE / program), json.dumps({**settings, "port": port})]
        started = serving(command, environment, self.folder / f"{name.replace(' ', '-')}.log")
        return Process(name, self.stack.enter_context(started), port)


def graphql(servers: Servers) -> list[Contender]:
    """The articles' query from one stand-in for the gateway, ours first."""
    port = servers.stack.enter_context(role("bench.graphql.roles", "gateway", "")).receive()
    upstream = f"http://127.0.0.1:{port}"
    ours = servers.ours("graphql_server", "graphql", SHOP_GATEWAY_URL=upstream)
    processes = [ours]
    for server in ("apollo", "mercurius"):
        for duties in (False, True):
            name = f"{server} with duties" if duties else server
            settings = {"server": server, "duties": duties, "upstream": upstream, "otlp": servers.collector}
            processes.append(servers.peer(name, "graphql.js", **settings))
    body = json.dumps({"query": QUERY})
    headers = {"Authorization": "Bearer someone", "Accept": "application/json"}
    found = []
    for process in processes:
        path = "/" if process.name.startswith("apollo") else "/graphql"
        job = {"url": process.url + path, "method": "POST", "body": body, "headers": headers, "connections": 8}
        found.append(Contender(process.name, job, [process]))
    _check_equal(found)
    return found


def reads(servers: Servers) -> list[Contender]:
    """A product from the real catalog, by the gateway and by Fastify, ours first."""
    data_dir = servers.folder / "shop"
    data_dir.mkdir()
    users = servers.bench.service("users", data_dir, otlp_url="")
    inventory = servers.bench.service("inventory", data_dir, otlp_url="", users_address=users.address)
    catalog = servers.bench.service(
        "catalog", data_dir, otlp_url="", users_address=users.address, inventory_address=inventory.address
    )
    ours = servers.ours(
        "gateway",
        "gateway",
        SHOP_DATA_DIR=str(data_dir),
        SHOP_USERS_ADDRESS=users.address,
        SHOP_CATALOG_ADDRESS=catalog.address,
        SHOP_CLIENT_RATE_LIMIT=UNLIMITED,
        SHOP_USER_RATE_LIMIT=UNLIMITED,
        # The read is measured, not the cache in front of it.
        SHOP_EDGE_CACHE_BYTES="0",
    )
    token = httpx.post(f"{ours.url}/v1/auth/token", data=SIGN_IN).raise_for_status().json()["access_token"]
    known = {
        "upstream": catalog.address,
        "protos": str(ROOT / "protos"),
        "otlp": servers.collector,
        "jwks": httpx.get(f"{ours.url}/.well-known/jwks.json").raise_for_status().json(),
    }
    bare = servers.peer("fastify", "edge.js", duties=False, **known)
    dutiful = servers.peer("fastify with duties", "edge.js", duties=True, **known)
    headers = {"Authorization": f"Bearer {token}"}
    found = [
        Contender(process.name, {"url": process.url + PRODUCT, "headers": headers}, [process])
        for process in (ours, bare, dutiful)
    ]
    _check_equal(found)
    return found


def fans(servers: Servers, connections: int) -> list[Fan]:
    """One crowd each at the notifier and at `ws`, ours first; the frames of both are equal, byte for byte."""
    users_port, token = servers.stack.enter_context(role(REALTIME_ROLES, "identity")).receive().split()
    folder = servers.folder / "notifier"
    port, pid = servers.stack.enter_context(
        notifier(
            folder, users_port, SHOP_OTLP_URL=servers.collector, SHOP_TRACE_SAMPLE_RATIO=_SAMPLED, SHOP_CAPTURE="0"
        )
    )
    publisher = servers.stack.enter_context(role(REALTIME_ROLES, "publisher", f"embedded:{folder / 'broker.sqlite'}"))
    publisher.receive()
    ws = servers.peer("ws", "fanout.js")
    found = []
    for at, process, trigger in ((port, pid, publisher), (ws.port, ws.process.pid, EventLines(ws.process))):
        greeted = servers.stack.enter_context(crowd(connections, at, websocket(token)))
        found.append(Fan(greeted, process, trigger, event_size))
    _check_frames(*found)
    return found


class EventLines(Role):
    """Publishes to `ws`: each event a line of JSON on its standard input."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(process)
        self._began = 0.0

    def send(self, *words: object) -> None:
        """Publish so many events."""
        lines = "\n".join(_line(an_event(number)) for number in range(int(str(words[0]))))
        self._began = time.monotonic()
        super().send(lines)

    def receive(self) -> str:
        """The time at which `send` began."""
        return str(self._began)


def _line(event: Event) -> str:
    content = {"type": event.type, "time": event.time, "subject": event.subject, "data": orjson.loads(event.data)}
    return orjson.dumps(content, option=orjson.OPT_UTC_Z).decode()


def _check_equal(contenders: list[Contender]) -> None:
    """Raise unless all give the same answer, whatever white space their JSON has."""
    answers = {}
    for contender in contenders:
        job = contender.job
        headers = {**job["headers"], "Content-Type": "application/json"}
        response = httpx.request(job.get("method", "GET"), job["url"], headers=headers, content=job.get("body"))
        answers[contender.name] = response.raise_for_status().json()
    first, *others = answers.values()
    if any(other != first for other in others) or "errors" in first:
        raise RuntimeError(f"the servers do not answer the same: {json.dumps(answers)[:4_000]}")


def _check_frames(*fans: Fan) -> None:
    """Raise unless the first event arrives at all connections as the same bytes."""
    found = set()
    for fan in fans:
        fan.position += 1
        fan.trigger.send(1)
        found |= fan.crowd.contents(event_size(1))
        fan.trigger.receive()
    if len(found) != 1:
        raise RuntimeError(f"the two do not send the same: {found}")
