"""The `shop` command. Each command is a thin function here; what it does is imported when it is called.

Exit codes, where a command's help says nothing else: 0 done, 1 done but the answer is bad news, 2 refused.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from shop import dead_letters, events, partner, webhooks
from shop.refusal import Refused

app = typer.Typer(
    help="Starts the Polyglot Shop and looks into it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(events.app, name="events")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(partner.app, name="partner")


def main() -> None:
    """Run the command line; a refusal becomes one plain message and exit code 2."""
    try:
        _read_files()
        app()
    except Refused as refusal:
        sys.stderr.write(f"shop: {refusal}\n")
        sys.exit(2)


def _read_files() -> None:
    """Put what the files of `SHOP_…_FILE` hold into this process's own environment, for whoever reads it there."""
    if not any(name.startswith("SHOP_") and name.endswith("_FILE") for name in os.environ):
        return
    # Imported here: most commands are given no files, and this takes longer than all the rest of their start.
    from chassis.settings import with_files

    try:
        given = with_files(os.environ)
    except ValueError as error:
        raise Refused(str(error)) from error
    for name in os.environ.keys() - given.keys():
        del os.environ[name]
    os.environ.update(given)


_Names = Annotated[list[str] | None, typer.Option(metavar="NAME[,NAME…]", help="Which; may be given several times.")]


@app.command()
def up(
    only: _Names = None,
    without: _Names = None,
    *,
    tls: Annotated[bool, typer.Option("--tls", help="HTTPS, WSS, and mutual TLS between services.")] = False,
) -> None:
    """Start every process and keep it running until Ctrl-C or SIGTERM.

    State lives in SHOP_DATA_DIR (.shop); SHOP_<PROCESS>_PORT moves a process; SHOP_START_METHOD=spawn starts each
    from nothing instead of forking it from what is imported already.

    Exit code 0: stopped as told. 1: the same, but a process had to be killed. 2: a port is taken, another shop uses
    the directory, or an argument or setting makes no sense; nothing was started.
    """
    from shop.up import up as start

    raise typer.Exit(start(only=_split(only), without=_split(without), tls=tls))


@app.command()
def certs(folder: Path | None = None) -> None:
    """Make a development certificate authority and a certificate for each process, unless they are there.

    They go to FOLDER, by default <SHOP_DATA_DIR>/certs, where `shop up --tls` looks for them.
    Exit code 0: they are there.
    """
    from shop.certs import AUTHORITY, ensure
    from shop.locate import data_dir
    from shop.processes import TABLE

    folder = folder or data_dir(os.environ) / "certs"
    made = ensure(folder, TABLE)
    typer.echo(f"{'made' if made else 'there already'}: {folder}; trust {folder / AUTHORITY}")


@app.command()
def run(process: str) -> None:
    """Run one process here, in the foreground, until Ctrl-C or SIGTERM.

    Exit code 0: stopped as told. 1: the process failed. 2: no such process, or a setting makes no sense.
    """
    from shop.up import run as run_one

    run_one(process)


@app.command()
def healthy(process: str) -> None:
    """Ask a process on this machine whether it can take work: by gRPC's health protocol, or its `/readyz`.

    Exit code 0: it can. 1: it cannot, or does not answer. 2: no such process.
    """
    from shop.healthy import healthy as ask

    raise typer.Exit(0 if ask(process, os.environ) else 1)


@app.command()
def migrate(services: Annotated[list[str] | None, typer.Argument(help="Which; all unless said.")] = None) -> None:
    """Bring the databases of services up to date (SHOP_DATABASE_URL), and end. Safe to repeat.

    Where processes are told not to do that themselves (SHOP_MIGRATE=false), this comes before them.
    Exit code 0: all are up to date. 1: one could not be brought there. 2: no such service.
    """
    from shop.migrate import migrate_command

    report, fine = migrate_command(services or [], os.environ)
    typer.echo(report)
    raise typer.Exit(0 if fine else 1)


@app.command()
def status(*, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every process with its state, pid, ports and restarts.

    Exit code 0: all are ready. 1: one is not, or none was started.
    """
    from shop.status import status as ask

    report, healthy = ask(os.environ, as_json=json)
    typer.echo(report)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def tour(
    *,
    reject: Annotated[bool, typer.Option("--reject", help="Order more than there is, and see it undone.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Place one real order and print its journey, hop by hop, from its trace; a shop is started if none runs.

    Exit code 0: every hop is there and went well. 1: a hop failed, or a kind of hop that belongs to the journey is
    missing. 2: there is no shop and none could be started, or its gateway, notifier or console does not answer.
    """
    from shop.tour import tour as travel

    raise typer.Exit(travel(os.environ, reject=reject, json=json))


@app.command()
def token(email: str) -> None:
    """Print an access token for an account.

    As in: curl -H "Authorization: Bearer $(shop token demo@shop.test)" …

    The password is SHOP_PASSWORD's, or a demo account's, or asked for.
    Exit code 0: printed. 2: wrong password, or the gateway does not answer.
    """
    from shop import sign_in

    typer.echo(sign_in.token(email))


def _split(names: list[str] | None) -> list[str]:
    return [name for given in names or () for name in given.split(",") if name]


@app.command()
def audit(
    *,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for orders in flight to end, and for the books to agree.")
    ] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare every service's books: nothing lost, nothing twice, all stock accounted for.

    Signs in with SHOP_AUDIT_EMAIL and SHOP_AUDIT_PASSWORD (the demo admin's unless set).
    Exit code 0: they agree. 1: they differ, and it prints where. 2: a service does not answer.
    """
    from shop import auditing

    report, clean = auditing.audit_command(os.environ, wait=wait, as_json=json)
    typer.echo(report)
    raise typer.Exit(0 if clean else 1)
