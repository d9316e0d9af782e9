"""RabbitMQ's definitions: the shop's topology, and for each process a user that may do what it does and no more.

No user may declare anything (`configure` is empty), so nothing that is taken over can bend the topology; the broker
imports it at its start instead. Publishing to the exchange is narrowed to the publisher's own routing keys.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from chassis.broker.port import Topology
from chassis.broker.retention import Retention

VHOST = "shop"
# As chassis/broker/rabbitmq/topology.py declares them.
_QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
# Bytes that a queue may hold. Beyond them RabbitMQ refuses what is published, which then waits in its outbox.
_QUEUE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class User:
    """A process's broker permissions: topics published, queues consumed, access to the log."""

    publishes: str = ""
    consumes: Sequence[str] = ()
    reads_log: bool = False
    tags: Sequence[str] = ()


USERS: Mapping[str, User] = {
    "gateway": User(reads_log=True),
    "notifier": User(publishes="chat", reads_log=True),
    "webhook_worker": User(publishes="webhook", consumes=["webhook-processing", "webhook-delivery"]),
    "catalog": User(publishes="product"),
    "orders": User(publishes="order", reads_log=True),
    "order_worker": User(publishes="order", consumes=["order-processing", "order-fulfilment", "order-compensation"]),
    "inventory": User(publishes="stock"),
    "storage": User(consumes=["order-invoice"]),
    "mailer": User(consumes=["order-mail"]),
    "reports": User(publishes="report", reads_log=True),
    # A person at the command line, who replays and drops dead letters of any queue.
    "operator": User(consumes=["[a-z-]+"], reads_log=True, tags=["monitoring"]),
}


def definitions(topology: Topology, passwords: Mapping[str, str]) -> str:
    """The file that RabbitMQ imports at its start (`load_definitions`). Importing it again changes nothing."""
    content: dict[str, Any] = {
        "vhosts": [{"name": VHOST, "default_queue_type": "quorum"}],
        "users": [_user(name, user, passwords[name]) for name, user in USERS.items()],
        "permissions": [_permission(name, user, topology) for name, user in USERS.items()],
        "topic_permissions": [_topics(name, user, topology) for name, user in USERS.items() if user.publishes],
        "policies": [_bounds(topology)],
        "exchanges": [{"name": topology.exchange, "vhost": VHOST, "type": "topic", "durable": True, "arguments": {}}],
        "queues": _queues(topology),
        "bindings": [_binding(topology, topology.log, "#"), *_bindings(topology)],
    }
    return json.dumps(content, indent=2)


def _user(name: str, user: User, password: str) -> dict[str, Any]:
    hashing = "rabbit_password_hashing_sha256"
    return {
        "name": name,
        "password_hash": _hashed(name, password),
        "hashing_algorithm": hashing,
        "tags": list(user.tags),
    }


def _hashed(name: str, password: str) -> str:
    """Salted SHA-256 as RabbitMQ keeps it. The salt comes from both, so that the same input makes the same file."""
    salt = hashlib.sha256(f"{name}\0{password}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _permission(name: str, user: User, topology: Topology) -> dict[str, str]:
    queues = [rf"({'|'.join(user.consumes)})(\.retry|\.dead)?"] if user.consumes else []
    log = [re.escape(topology.log)] if user.reads_log else []
    exchange = [re.escape(topology.exchange)] if user.publishes else []
    # Retries and dead letters go to their queues by the default exchange.
    default = [r"amq\.default"] if user.consumes else []
    return {
        "user": name,
        "vhost": VHOST,
        "configure": "^$",
        "write": _any_of(exchange + default),
        "read": _any_of(queues + log),
    }


def _any_of(names: Sequence[str]) -> str:
    return f"^({'|'.join(names)})$" if names else "^$"


def _topics(name: str, user: User, topology: Topology) -> dict[str, str]:
    return {
        "user": name,
        "vhost": VHOST,
        "exchange": topology.exchange,
        "write": rf"^{user.publishes}\.",
        "read": "^$",
    }


def _bounds(topology: Topology) -> dict[str, Any]:
    """Every work queue is bounded, and has a member on each of up to three nodes as they come."""
    queues = "|".join(topology.queues)
    return {
        "name": "work-queues",
        "vhost": VHOST,
        "pattern": rf"^({queues})(\.retry|\.dead)?$",
        "apply-to": "quorum_queues",
        "priority": 1,
        "definition": {"max-length-bytes": _QUEUE_BYTES, "overflow": "reject-publish", "target-group-size": 3},
    }


def _queues(topology: Topology) -> list[dict[str, Any]]:
    retention = Retention()
    log = {
        "x-queue-type": "stream",
        "x-max-age": f"{retention.age // timedelta(seconds=1)}s",
        "x-max-length-bytes": retention.size,
        "x-stream-max-segment-size-bytes": retention.segment,
    }
    work = [name + suffix for name in topology.queues for suffix in ("", ".retry", ".dead")]
    return [_queue(topology.log, log), *(_queue(name, _QUORUM) for name in work)]


def _queue(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "vhost": VHOST, "durable": True, "auto_delete": False, "arguments": dict(arguments)}


def _bindings(topology: Topology) -> list[dict[str, Any]]:
    return [_binding(topology, queue, key) for queue, keys in topology.queues.items() for key in keys]


def _binding(topology: Topology, queue: str, routing_key: str) -> dict[str, Any]:
    return {
        "source": topology.exchange,
        "vhost": VHOST,
        "destination": queue,
        "destination_type": "queue",
        "routing_key": routing_key,
        "arguments": {},
    }
