"""What a benchmark prints of servers that it would need and that are not there."""

from __future__ import annotations

import socket

import pytest

from bench.roles import free_port, listens, not_run


def test_a_part_is_left_out_with_the_hosts_where_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """The line names each host once, and none that has the server."""
    with socket.create_server(("127.0.0.1", 0)) as there:
        database = f"postgresql://postgres@127.0.0.1:{there.getsockname()[1]}"
        broker = f"amqp://guest:guest@localhost:{free_port()}/"
        assert listens(database)
        not_run("orders on servers", database, broker, broker)
    assert capsys.readouterr().out == "orders on servers: NOT RUN, nothing listens at localhost\n"


def test_a_url_without_a_port_names_its_servers_own() -> None:
    """A port that no server has is as good as nothing that listens."""
    assert not listens("unknown://127.0.0.1")
