"""The thread that writes the embedded broker's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis.broker import connect
from chassis.broker.embedded import writer
from chassis.broker.port import BrokerUnavailable
from tests.contract.events import TOPOLOGY, an_event


async def test_unreadable_file_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for meanwhile is refused, and what is asked for afterwards is done."""
    broker = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", TOPOLOGY)
    with monkeypatch.context() as patched:

        def refused(path: Path) -> tuple[int, int]:
            raise PermissionError(13, "Permission denied", str(path))

        patched.setattr(writer, "_identity", refused)
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match="Permission denied"):
                await broker.publish([an_event()])
    await broker.publish([an_event()])
    await broker.close()
