"""Parameters of `shop queues`; its code is imported when it is called."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def queues(*, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the messages of each work queue: ready, delayed for a retry, dead; the age of the oldest, and the consumers.

    Exit code 0: shown. 2: the broker, or its metrics (SHOP_BROKER_METRICS_URL), cannot be reached.
    """
    from shop.commands.messages.queues import queues as ask

    typer.echo(ask(os.environ, as_json=json))
