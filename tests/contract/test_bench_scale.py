"""What `make bench-scale` says of the processor time of an order."""

from __future__ import annotations

import pytest

from bench.scale.workers import print_costs


def test_a_core_is_full_with_what_a_process_does_anyway(capsys: pytest.CaptureFixture[str]) -> None:
    """That takes part of the core; a process whose time went backwards has no rate, and is not left out."""
    print_costs({"orders": 1.0, "mailer": -0.5}, {"orders": 0.2, "mailer": 0.1}, 100, 10.0)
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert rows == ["| orders | 10.0 | 80 orders/s |", "| mailer | -5.0 | not measured |", "| all | 5.0 | |"]
