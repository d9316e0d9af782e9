"""Parameters of `shop tour`, `trace`, `audit` and `token`; their code is imported when they are called."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer


def tour(
    *,
    reject: Annotated[
        bool, typer.Option("--reject", help="Order more than the stock, and show the compensation.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Place one real order and print its journey, hop by hop, from its trace; a shop is started if none runs.

    Exit code 0: every hop is there and went well. 1: a hop failed or has no end, or a kind of hop that belongs to the
    journey is missing. 2: there is no shop and none could be started, or its gateway, notifier or console does not
    answer.
    """
    from shop.commands.orders.tour import tour as travel

    raise typer.Exit(travel(os.environ, reject=reject, json=json))


def order(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The order's id.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one order's history: status, events, stock, ERP, payment, webhooks, mails, and the audit's verdict.

    Exit code 0: printed. 1: there is no such order. 2: the records cannot be read.
    """
    from shop.commands.orders.order import order as story_of

    story = story_of(identifier, os.environ, as_json=json)
    if story is None:
        typer.echo(f"there is no order {identifier}", err=True)
        raise typer.Exit(1)
    typer.echo(story)


def trace(order: Annotated[str, typer.Argument(help="The order's id, or a trace's.")]) -> None:
    """Print the hops of one order as they happen, until it has settled.

    Exit code 0: every hop went well. 1: one failed or has no end. 2: the console does not answer, or has no trace of
    the order.
    """
    from shop.commands.orders.trace import trace as follow

    raise typer.Exit(0 if follow(order, os.environ, sys.stdout) else 1)


def audit(
    *,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait until orders in flight have ended and the books agree.")
    ] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge every order by all books: settled, in flight, waiting for a person, different, or lost.

    Signs in with SHOP_AUDIT_EMAIL and SHOP_AUDIT_PASSWORD (the demo admin's unless set).
    Exit code 0: every order is settled, or in flight with a known next step. 1: findings (printed): lost, doubled or
    different records, or records that wait for a person. 2: a record could not be read, or was deleted on purpose
    (printed), so that not every order can be judged.
    """
    from shop.audit.command import audit_command

    report, exit_code = audit_command(os.environ, wait=wait, as_json=json)
    typer.echo(report)
    raise typer.Exit(exit_code)


def token(email: str) -> None:
    """Print an access token for an account.

    As in: curl -H "Authorization: Bearer $(shop token demo@shop.test)" …

    The password comes from SHOP_PASSWORD, a demo account, or a prompt.
    Exit code 0: printed. 2: wrong password, or the gateway does not answer.
    """
    from shop import sign_in

    typer.echo(sign_in.token(email))
