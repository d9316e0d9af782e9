"""`python -m deploy.compose.provision FOLDER`: makes the secrets of a deployment, and the definitions of its RabbitMQ.

Every process gets a role, a user or a secret of its own, in a file that only it is given. Without `--development` they
are random, and none is written over: `SHOP_SECRETS=FOLDER docker compose up` then uses them. With it they are what
`deploy/compose/secrets` holds: public, and for nothing but a shop on one's own machine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from deploy.compose.rabbitmq.definitions import USERS, definitions
from shop.process_table import Scheme

# Services with a database of their own; processes of one service share its role.
DATABASES = ("users", "catalog", "orders", "inventory", "storage", "mailer", "reports", "webhooks")
# Processes that call others in their own name, not in a customer's: each signs in at `users` with a secret.
SIGNING_IN = ("order_worker", "inventory", "storage", "mailer", "webhook_worker", "graphql_server", "mcp_server")

Make = Callable[[str], str]


def files(make: Make) -> dict[str, str]:
    """Path -> content of everything that a deployment keeps to itself. `make` makes the secret of a name."""
    broker = {user: make(f"broker-{user}") for user in USERS}
    roles = {service: make(f"database-{service}") for service in DATABASES}
    services = {process: make(f"service-{process}") for process in SIGNING_IN}
    found = {
        "rabbitmq/definitions.json": definitions(Topology.load(TOPOLOGY), broker),
        "rabbitmq/erlang_cookie": make("erlang-cookie"),
        "postgres/roles": "\n".join(f"{service} {password}" for service, password in roles.items()),
        "redis/users.acl": _redis(make("redis-gateway")),
        "gateway/rate_limit_url": f"redis://gateway:{make('redis-gateway')}@redis:6379/0",
        "users/service_secrets": json.dumps(services),
        "legacy_soap/password": make("legacy-soap"),
        "grafana/admin_password": make("grafana"),
    }
    for user, password in broker.items():
        found[f"{user}/broker_url"] = f"amqp://{user}:{password}@broker:5672/shop?topology=declared"
    for service, password in roles.items():
        found[f"{service}/database_url"] = f"postgresql://{service}:{password}@postgres:5432/{service}"
    for process, secret in services.items():
        found[f"{process}/service_secret"] = secret
    for scheme in Scheme:
        found[f"webhooks/secret_{scheme.value.lower()}"] = _signing_secret(scheme, make)
    return {path: content.removesuffix("\n") + "\n" for path, content in sorted(found.items())}


def development(name: str) -> str:
    """A development password that is recognizable as one."""
    return f"development-only-{name}"


def random(drawn: dict[str, str]) -> Make:
    """A fresh secret for each name, the same one at each call."""
    return lambda name: drawn.setdefault(name, secrets.token_urlsafe(32))


def write(folder: Path, contents: Mapping[str, str]) -> None:
    """Write the files. Raises `FileExistsError` rather than change a secret that something may be running on."""
    for path, content in contents.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x") as file:
            file.write(content)


def _redis(password: str) -> str:
    """Redis's access list: all but administration for the gateway, PING for every client."""
    return f"user default on nopass -@all +ping\nuser gateway on >{password} ~* &* +@all -@admin -@dangerous"


def _signing_secret(scheme: Scheme, make: Make) -> str:
    """Standard Webhooks prescribes `whsec_` and the base64 of 24 to 64 bytes; the others take any text."""
    secret = make(f"webhooks-{scheme.value.lower()}")
    if scheme is Scheme.STANDARD:
        return "whsec_" + base64.b64encode(hashlib.sha256(secret.encode()).digest()).decode()
    return secret


def main() -> None:
    """Exit code 0: written; 1: a file is there already; 2: no folder was given."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--development"]
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m deploy.compose.provision FOLDER [--development]\n")
        sys.exit(2)
    make = development if "--development" in sys.argv else random({})
    try:
        write(Path(arguments[0]), files(make))
    except FileExistsError as error:
        sys.exit(f"{error.filename} is there already, and stays as it is")


if __name__ == "__main__":
    main()
