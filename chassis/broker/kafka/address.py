"""The topic's URL: `kafka://host:9092,other:9092/shop.events`, `kafkas:` with TLS, and options in the query.

`partitions` (12) and `replicas` (3, or as many as there are brokers) are what the topic is created with where it is
missing; with `topology=declared` it is not created. `idempotence=off` is for brokers that lack the idempotent producer,
where an append that is tried again may leave a repeat. A user and a password are shown by SASL, with `mechanism`
(SCRAM-SHA-512); `ca` is a file of the certificate authorities to trust.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_OPTIONS = {"partitions", "replicas", "topology", "idempotence", "mechanism", "ca"}
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
PARTITIONS, MAX_PARTITIONS = 12, 100
REPLICAS, MAX_REPLICAS = 3, 10
REQUEST_TIMEOUT_MS = 10_000


@dataclass(frozen=True, slots=True)
class Address:
    """A topic, how its brokers are reached, and what it is to be like."""

    servers: str
    topic: str
    partitions: int = PARTITIONS
    replicas: int = REPLICAS
    declared: bool = False
    idempotent: bool = True
    tls: bool = False
    ca: str = ""
    user: str = ""
    password: str = ""
    mechanism: str = "SCRAM-SHA-512"

    @classmethod
    def parse(cls, url: str) -> Address:
        """The parsed URL. Raises `ValueError`, which shows no password."""
        parts = urlsplit(url)
        if parts.scheme not in {"kafka", "kafkas"}:
            raise ValueError(f"unsupported event log URL scheme {parts.scheme!r}: use kafka: or kafkas:")
        options = dict(parse_qsl(parts.query))
        if unknown := options.keys() - _OPTIONS:
            raise ValueError(f"the event log's URL has unknown options: {', '.join(sorted(unknown))}")
        credentials, _, servers = parts.netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        topic = parts.path.removeprefix("/")
        if not servers or not _TOPIC.fullmatch(topic):
            raise ValueError("the event log's URL must name brokers and a topic: kafka://host:9092/shop.events")
        return cls(
            servers,
            topic,
            partitions=_number(options, "partitions", PARTITIONS, MAX_PARTITIONS),
            replicas=_number(options, "replicas", REPLICAS, MAX_REPLICAS),
            declared=_choice(options, "topology", "declare", "declared") == "declared",
            idempotent=_choice(options, "idempotence", "on", "off") == "on",
            tls=parts.scheme == "kafkas",
            ca=options.get("ca", ""),
            user=unquote(user),
            password=unquote(password),
            mechanism=_choice(options, "mechanism", "SCRAM-SHA-512", *_MECHANISMS),
        )

    def client(self) -> dict[str, Any]:
        """Configuration of each of the library's clients. Raises `OSError` when `ca` cannot be read."""
        protocol = ("SASL_" if self.user else "") + ("SSL" if self.tls else "PLAINTEXT")
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers.split(","),
            "client_id": "shop",
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "security_protocol": protocol,
        }
        if self.tls:
            options["ssl_context"] = ssl.create_default_context(cafile=self.ca or None)
        if self.user:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return options


def _number(options: dict[str, str], name: str, default: int, largest: int) -> int:
    text = options.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= largest):
        raise ValueError(f"{name}={text} in the event log's URL must be a number from 1 to {largest}")
    return int(text)


def _choice(options: dict[str, str], name: str, default: str, *others: str) -> str:
    chosen = options.get(name, default)
    if chosen not in (known := sorted({default, *others})):
        raise ValueError(f"{name}={chosen} in the event log's URL must be one of {', '.join(known)}")
    return chosen
