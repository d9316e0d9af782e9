"""How the embedded broker's processes notify one another of changes."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from chassis.broker.embedded import peers
from tests.waiting import eventually

News = frozenset[str] | None


def _session(folder: Path, received: list[News]) -> closing[peers.Session]:
    return closing(peers.Session(folder, received.append))


def _open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def test_a_session_receives_what_has_changed(tmp_path: Path) -> None:
    """The names of several notifications that come together all arrive, and nothing else."""
    received: list[News] = []
    with _session(tmp_path, received), closing(peers.PeerNotifier(tmp_path)) as notifier:
        notifier.notify(frozenset(["order-mail", "/log"]))
        notifier.notify(frozenset(["order-invoice"]))
        await eventually(lambda: received)
    assert received == [frozenset(["order-mail", "order-invoice", "/log"])]


async def test_a_session_that_may_have_missed_something_looks_everywhere(tmp_path: Path) -> None:
    """Where the pipe was full, the notification is lost: anything may have changed."""
    received: list[News] = []
    with _session(tmp_path, received), closing(peers.PeerNotifier(tmp_path)) as notifier:
        for _ in range(10_000):
            notifier.notify(frozenset(["order-mail"]))
        notifier.notify(frozenset(["order-invoice"]))
        await eventually(lambda: received)
    assert received[0] is None


async def test_sessions_that_come_and_go_are_noticed(tmp_path: Path) -> None:
    """A session that began after the first notification gets the next one; one that has ended leaves no pipe open."""
    first: list[News] = []
    second: list[News] = []
    open_before = _open_files()
    with closing(peers.PeerNotifier(tmp_path)) as notifier:
        with _session(tmp_path, first):
            notifier.notify(frozenset(["order-mail"]))
            await eventually(lambda: first)
        with _session(tmp_path, second):
            notifier.notify(frozenset(["order-invoice"]))
            await eventually(lambda: second)
            assert _open_files() == open_before + 2
    assert second == [frozenset(["order-invoice"])]
    assert _open_files() == open_before


async def test_a_session_whose_process_died_is_passed_over(tmp_path: Path) -> None:
    """Its pipe is still there, without a reader: what was kept open breaks, the others are notified, and it is dead."""
    received: list[News] = []
    died = peers.Session(tmp_path, lambda _: None)
    with _session(tmp_path, received) as alive, closing(peers.PeerNotifier(tmp_path)) as notifier:
        notifier.notify(frozenset(["order-mail"]))
        pipe = tmp_path / died.name
        died.close()
        os.mkfifo(pipe)
        notifier.notify(frozenset(["order-invoice"]))
        await eventually(lambda: received)
        assert peers.living(tmp_path) == ({alive.name}, {died.name})
    assert received == [frozenset(["order-mail", "order-invoice"])]
