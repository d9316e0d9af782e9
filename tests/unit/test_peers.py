"""How the embedded broker's processes notify one another of changes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from chassis.broker.embedded import peers
from tests.waiting import eventually

News = frozenset[str] | None


def _session(folder: Path, told: list[News]) -> closing[peers.Session]:
    return closing(peers.Session(folder, told.append))


async def test_a_session_is_told_what_has_changed(tmp_path: Path) -> None:
    """The names of several notifications that come together all arrive, and nothing else."""
    told: list[News] = []
    with _session(tmp_path, told):
        peers.notify(tmp_path, frozenset(["order-mail", "/log"]))
        peers.notify(tmp_path, frozenset(["order-invoice"]))
        await eventually(lambda: told)
    assert told == [frozenset(["order-mail", "order-invoice", "/log"])]


async def test_a_session_that_may_have_missed_something_is_told_to_look_everywhere(tmp_path: Path) -> None:
    """Where the pipe was full, the notification is lost: anything may have changed."""
    told: list[News] = []
    with _session(tmp_path, told):
        for _ in range(10_000):
            peers.notify(tmp_path, frozenset(["order-mail"]))
        peers.notify(tmp_path, frozenset(["order-invoice"]))
        await eventually(lambda: told)
    assert told[0] is None
