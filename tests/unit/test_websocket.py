"""What fits a WebSocket's close frame."""

from __future__ import annotations

import pytest

from chassis.http.websocket import close_reason


@pytest.mark.parametrize("text", ["x" * 500, "é" * 64, "a" + "é" * 64, "𝄞" * 100, "short", ""])
def test_a_reason_fits_a_close_frame(text: str) -> None:
    """At most 123 bytes of UTF-8 (RFC 6455, 5.5.1), as many whole characters as fit, and what fits is not changed."""
    reason = close_reason(text)
    assert text.startswith(reason)
    assert len(reason.encode()) <= 123
    assert reason == text or len(text[: len(reason) + 1].encode()) > 123
