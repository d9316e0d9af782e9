"""`shop lesson`: break it, see it, mend it, and have the repair judged."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from shop.lessons.checking import Result
    from shop.lessons.workspace import Workspace

app = typer.Typer(
    help="Lessons: a broken copy of the shop to look into, to mend, and to have checked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_Number = Annotated[int, typer.Argument(metavar="N", help="The lesson's number.")]
_Current = Annotated[
    int | None, typer.Argument(metavar="[N]", help="The lesson's number; by default the one you are in.")
]
# After so many checks in vain, the solution is mentioned; it is never locked.
_OFFER_AFTER = 5


@app.command("list")
def list_lessons(
    *, json: Annotated[bool, typer.Option("--json", help="Print JSON, with all that a page shows.")] = False
) -> None:
    """List the lessons: minutes, subject, and how far you are.

    Exit code 0: listed.
    """
    from shop.lessons.lesson import lessons
    from shop.lessons.report import report
    from shop.lessons.workspace import Workspace, home

    if json:
        typer.echo(report(os.environ))
        return
    for lesson in lessons():
        workspace = Workspace(lesson, home(os.environ) / str(lesson.number))
        typer.echo(
            f"{lesson.number:>3}  {lesson.title:<34} {lesson.minutes:>2} min  {lesson.subject:<38} {_way(workspace)}"
        )


@app.command()
def start(
    number: _Number,
    *,
    guess: Annotated[str, typer.Option(metavar="a|b|c", help="Your prediction [default: a prompt].")] = "",
) -> None:
    """Start a lesson, or go on with it: its page, a copy of the code with one thing broken, and a shop that runs it.

    The copy is a git worktree of the last commit, in SHOP_DATA_DIR/lessons/N, with a data directory and ports of its
    own. Exit code 0: the shop is up. 1: it does not start with the code as it is. 2: no such lesson, or no git.
    """
    from shop.lessons import running
    from shop.lessons.workspace import workspace as of

    workspace = of(number, os.environ)
    _page(workspace.lesson.task)
    _predict(workspace, guess)
    _report(running.start(workspace, os.environ), workspace)


@app.command()
def see(number: _Current = None) -> None:
    """Make the fault visible, as this lesson's page describes.

    It uses the running shop; your changes since its start are in it after the next check.
    Exit code 0: shown. 1: the lesson's shop does not answer.
    """
    from shop.lessons import checking, shop_process

    workspace = _current(number)
    # What is under lessons/ (such as a client) is not the shop's.
    changed = [name for name in workspace.changed_files() if not name.startswith("lessons/")]
    if changed and not shop_process.runs(workspace):
        typer.echo("(The lesson's shop does not run your latest change: `shop lesson check` starts it anew.)", err=True)
    raise typer.Exit(checking.see(workspace))


@app.command()
def check(number: _Current = None) -> None:
    """Judge your code: the shop is restarted if it has changed, and the lesson's check looks at it from outside.

    Exit code 0: the promise is kept. 1: it is broken, and the first line shows how. 2: void: the check's fault has met
    nothing, so that there is nothing to judge.
    """
    workspace = _current(number)
    typer.echo("running your code, and looking at it from outside …", err=True)
    result = _checked(workspace)
    _show(workspace, result)
    raise typer.Exit(int(result.verdict))


@app.command()
def watch(number: _Current = None) -> None:
    """Check at each change of a file, until Ctrl-C.

    Exit code 0: stopped on request.
    """
    from shop.lessons import running

    workspace = _current(number)
    typer.echo(f"watching {workspace.tree}; Ctrl-C ends it")
    try:
        for _ in running.changes(workspace):
            _show(workspace, _checked(workspace))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def hint(
    number: _Current = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """Show the next hint; after the last one, the first again.

    Exit code 0: shown.
    """
    workspace = _current(number)
    progress, hints = workspace.progress(), workspace.lesson.hints
    shown = range(len(hints)) if everything else [progress.hints % len(hints)]
    for place in shown:
        typer.echo(f"hint {place + 1} of {len(hints)}: {hints[place]}")
    progress.hints += len(shown)
    workspace.save(progress)


@app.command()
def diff(number: _Current = None) -> None:
    """Show what you have changed since the lesson started.

    Exit code 0: shown.
    """
    workspace = _current(number)
    typer.echo(workspace.diff() or "nothing is changed yet")


@app.command()
def reset(number: _Current = None) -> None:
    """Begin a lesson anew; your work is kept as a branch lesson/N/try-K.

    Exit code 0: the shop is up, as delivered. 1: it does not start. 2: git refuses.
    """
    from shop.lessons import running

    workspace = _current(number)
    _report(running.reset(workspace, os.environ), workspace)


@app.command()
def solution(
    number: _Current = None,
    *,
    start: Annotated[bool, typer.Option("--start", help="Put it in place of your work, and start the shop.")] = False,
) -> None:
    """Show the solution, as a change of the code as delivered.

    With --start it is put in place, to go on from there; your work is kept as a branch lesson/N/try-K.
    Exit code 0: shown, or the shop is up. 1: it does not start. 2: git refuses.
    """
    from shop.lessons import running

    if not start:
        from shop.lessons.lesson import lesson

        chosen = lesson(number) if number is not None else _current(None).lesson
        typer.echo(chosen.solution_patch.read_text())
        return
    workspace = _workspace(number)
    _report(running.reset(workspace, os.environ, patch=workspace.lesson.solution_patch), workspace)


@app.command()
def stop(
    number: _Current = None,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Delete the copy of the code as well.")] = False,
) -> None:
    """Stop a lesson's shop. Your files stay; with --remove your work is kept as a branch lesson/N/try-K.

    Exit code 0: stopped. 2: no such lesson was started.
    """
    from shop.lessons import shop_process

    workspace = _current(number)
    typer.echo("stopped" if shop_process.stop(workspace) else "nothing ran")
    if remove:
        branch = workspace.keep()
        workspace.remove()
        typer.echo(f"removed {workspace.tree}" + (f"; your work is the branch {branch}" if branch else ""))


@app.command()
def board(
    *,
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8090,
    host: Annotated[str, typer.Option(help="0.0.0.0 shows it to the room.")] = "127.0.0.1",
) -> None:
    """Show the progress of all who have joined on one page, until Ctrl-C; it is not stored.

    Exit code 0: stopped on request. 2: the port is taken.
    """
    from shop.lessons.board import Board, server
    from shop.lessons.lesson import lessons

    with server(Board(lessons()), host, port) as serving:
        typer.echo(f"the board is at http://{host}:{serving.server_address[1]}; Ctrl-C ends it. To be on it:")
        typer.echo(f"  shop lesson join http://THIS-MACHINE:{serving.server_address[1]} NAME")
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


@app.command()
def join(url: str, name: str) -> None:
    """Join the room's board: each check from now on sends it the lesson, the verdict and this name, nothing else.

    Exit code 0: joined. 2: invalid URL or name.
    """
    from shop.lessons.board import join as note
    from shop.lessons.workspace import home

    note(home(os.environ), url, name)
    typer.echo(f"your checks are shown at {url} as {name}; `shop lesson leave` ends that")


@app.command()
def leave() -> None:
    """Leave the room's board.

    Exit code 0: left.
    """
    from shop.lessons.board import leave as forget
    from shop.lessons.workspace import home

    forget(home(os.environ))


def _current(number: int | None) -> Workspace:
    from shop.lessons.workspace import current

    return current(number, os.environ)


def _workspace(number: int | None) -> Workspace:
    from shop.lessons.workspace import workspace

    return _current(None) if number is None else workspace(number, os.environ)


def _report(lines: list[str], workspace: Workspace) -> None:
    """Print what was done; a shop that does not start is the last line's news, and exit code 1."""
    from shop.lessons import shop_process

    typer.echo("\n".join(lines))
    if not shop_process.runs(workspace):
        raise typer.Exit(1)


def _page(text: str) -> None:
    """Print Markdown: laid out in a terminal, as it is elsewhere."""
    if not sys.stdout.isatty():
        typer.echo(f"{text}\n")
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console(width=min(Console().width, 100)).print(Markdown(text))


def _predict(workspace: Workspace, guess: str) -> None:
    """Keep the prediction, so that the explanation can refer to it."""
    progress = workspace.progress()
    if not guess and not progress.guess and sys.stdin.isatty():
        guess = typer.prompt("Your prediction (a, b or c; Enter for none)", default="", show_default=False)
    if guess:
        progress.guess = guess.strip().lower()[:1]
        workspace.tree.parent.mkdir(parents=True, exist_ok=True)
        workspace.save(progress)


def _checked(workspace: Workspace) -> Result:
    """Make a check, and keep its result; that it runs is kept, too, meanwhile. Raises `Refused`.

    A check that comes to no result leaves `kept` and the number of checks as they are; a refusal replaces the last
    verdict by its reason.
    """
    from shop.errors import Refused
    from shop.lessons import checking
    from shop.lessons.checking import Verdict

    progress = workspace.progress()
    progress.checking = os.getpid()
    workspace.save(progress)
    result: Result | None = None
    refusal = ""
    try:
        result = checking.check(workspace)
    except Refused as refused:
        refusal = str(refused)
        raise
    finally:
        progress = workspace.progress()
        progress.checking = 0
        if result is not None:
            progress.verdict, progress.said, progress.details = result.verdict.name, result.message, result.details
            progress.checks += 1
            progress.kept = result.verdict is Verdict.KEPT
        elif refusal:
            progress.verdict, progress.said, progress.details = "", refusal, ""
        workspace.save(progress)
    return result


def _show(workspace: Workspace, result: Result) -> None:
    """The verdict's sentence first, then what belongs to it."""
    from shop.lessons.board import report
    from shop.lessons.checking import Verdict

    progress, lesson = workspace.progress(), workspace.lesson
    typer.echo(f"{result.verdict.name}: {result.message}")
    outcome = {"lesson": lesson.number, "verdict": result.verdict.name, "checks": progress.checks}
    if trouble := report(workspace.tree.parent, outcome):
        typer.echo(f"({trouble})")
    if result.details:
        typer.echo(result.details)
    if unexpected := sorted(set(workspace.changed_files()) - set(lesson.files)):
        typer.echo(
            f"(You have changed {', '.join(unexpected)}; this lesson can be solved in {', '.join(lesson.files)}.)"
        )
    if result.verdict is Verdict.KEPT:
        typer.echo("")
        if progress.guess:
            right = "that was right" if progress.guess == lesson.answer else f"the answer is {lesson.answer}"
            typer.echo(f"You predicted {progress.guess}: {right}.\n")
        _page(lesson.explanation)
    elif result.verdict is Verdict.VOID:
        typer.echo("(Nothing was judged: try again with `shop lesson check`. Help: shop lesson hint)")
    elif progress.checks >= _OFFER_AFTER:
        typer.echo("(Help: shop lesson hint; and `shop lesson solution` shows one way to do it.)")
    else:
        typer.echo("(Help: shop lesson hint)")


def _way(workspace: Workspace) -> str:
    progress = workspace.progress()
    if progress.kept:
        return "kept"
    if progress.checks:
        return f"{progress.checks} checks"
    return "started" if workspace.exists else ""
