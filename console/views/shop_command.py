"""The operator's command `shop`, run for the page as a process of its own, on the machine of the shop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from chassis.errors import Kind, ShopError

_MAX_REASON = 500
# Seconds that a command gets to undo its work when this process ends: the supervisor gives it 10 (GRACE).
_ENDING_GRACE = 7.0


async def shop_command(
    command: Sequence[str], env: Mapping[str, str], timeout: float, late: str, *, grace: float = 0.0
) -> tuple[bytes, str, int]:
    """Run a command: its output, its error (the last 500 characters of what it printed), and its exit code.

    A command that is not waited for any longer is killed, `grace` seconds after SIGTERM where it has something to undo,
    and 7 at the most where the caller is cancelled, as at the end of this process.
    Raises DEADLINE_EXCEEDED with the text `late` after `timeout` seconds, OSError for a command that cannot be started.
    """
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(timeout):
            out, err = await child.communicate()
    except TimeoutError as error:
        raise ShopError("DEADLINE_EXCEEDED", late, Kind.TIMEOUT) from error
    except asyncio.CancelledError:
        grace = min(grace, _ENDING_GRACE)
        raise
    finally:
        if child.returncode is None:
            await _end(child, grace)
    return out, err.decode(errors="replace").strip().removeprefix("shop: ")[-_MAX_REASON:], child.returncode or 0


async def _end(child: asyncio.subprocess.Process, grace: float) -> None:
    try:
        if grace:
            child.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await child.communicate()  # a full pipe would hold it up
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
