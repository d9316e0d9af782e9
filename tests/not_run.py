"""What a test needs and finds missing while it runs: REQUIRE decides whether that is a skip or a failure."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def required() -> set[str]:
    """What REQUIRE names."""
    return {name for name in os.environ.get("REQUIRE", "").split(",") if name}


def not_run(what: str, why: str) -> NoReturn:
    """Skip the test with the reason; fail it where REQUIRE names `what`."""
    if what in required():
        pytest.fail(f"required, but {what}: {why}", pytrace=False)
    pytest.skip(f"not run: {why}")
