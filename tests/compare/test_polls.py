"""What polls and events cost is counted poll by poll."""

from __future__ import annotations

import json

import pytest

from bench.compare.measure.proxies import Recorded
from bench.compare.news.polls import costs

EVENT = {"id": 1, "type": "order.paid", "at": 1234.5}
SIZE = len(json.dumps([EVENT])) - len("[]")


def poll(kept: Recorded, events: int, *, condition: str = "", unchanged: bool = False) -> None:
    """A poll over this connection that brings so many events; `unchanged`: its answer is a 304."""
    kept.up += f"GET /news?after=1 HTTP/1.1\r\nHost: x\r\n{condition}\r\n".encode()
    body = "" if unchanged else json.dumps([EVENT] * events)
    status = "304 Not Modified" if unchanged else "200 OK"
    length = "" if unchanged else f"Content-Length: {len(body):03}\r\n"
    kept.down += f'HTTP/1.1 {status}\r\nETag: "1"\r\n{length}\r\n{body}'.encode()


@pytest.mark.parametrize("idle", [1, 2, 30])
def test_an_events_bytes_do_not_depend_on_the_polls_around_it(idle: int) -> None:
    """However many polls had no news, an event costs what its poll's answer has more than theirs."""
    kept = Recorded()
    poll(kept, 0)
    for _ in range(idle):
        poll(kept, 0)
    poll(kept, 1)
    found = costs([kept])
    assert found is not None
    assert found[0] == (len(kept.up) + len(kept.down) - SIZE) / (idle + 2)
    assert found[1] == SIZE


def test_polls_over_several_connections_and_two_events_in_one_count() -> None:
    """A server closes what was idle for long; events that came together share what their poll has more."""
    first, second = Recorded(), Recorded()
    for events in (0, 0, 1):
        poll(first, events)
    poll(second, 2)
    found = costs([first, second])
    assert found is not None
    assert found[1] == (SIZE + 2 * SIZE + len(", ")) / 3


def test_a_first_poll_without_a_condition_is_like_no_other() -> None:
    """A conditional poll costs what its 304 does; the first one, which was answered in full, is left out."""
    kept = Recorded()
    poll(kept, 0)
    first = len(kept.up) + len(kept.down)
    poll(kept, 0, condition='If-None-Match: "1"\r\n', unchanged=True)
    poll_bytes = len(kept.up) + len(kept.down) - first
    poll(kept, 1, condition='If-None-Match: "1"\r\n')
    found = costs([kept])
    assert found is not None
    assert found[0] == poll_bytes != first


def test_an_answer_that_has_not_arrived_is_no_poll_yet() -> None:
    """The moment at which bytes are counted may lie inside a poll; and before an event there is nothing to compare."""
    kept = Recorded()
    for events in (0, 0, 1):
        poll(kept, events)
    whole = costs([kept])
    poll(kept, 0)
    del kept.down[-1:]
    assert costs([kept]) == whole
    assert costs([]) is None
