"""A program that is forked from the warm server finds, says and leaves what it would in an interpreter of its own."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.forking import popen
from tests.forking.probe import ENDS
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(subprocess.Popen is not popen.Popen, reason="not run: programs are executed here")
PROBE = [sys.executable, "-m", "tests.forking.probe"]


def ended(*arguments: str, fresh: bool, **options: Any) -> subprocess.CompletedProcess[str]:
    """The probe, run to its end."""
    with popen.fresh_interpreters() if fresh else nullcontext():
        given = {"input": "a line\nanother\n", **options}
        return subprocess.run([*PROBE, *arguments], **given, capture_output=True, text=True, check=False)


def found(**options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the probe finds when it is forked, and when it is executed."""
    both = [json.loads(ended(fresh=fresh, **options).stdout.splitlines()[0]) for fresh in (False, True)]
    return both[0], both[1]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("options", [{}, {"start_new_session": True}, {"process_group": 0}], ids=str)
def test_it_finds_the_same_around_it(unbuffered: str, options: dict[str, Any]) -> None:
    """Arguments, environment, folder, descriptors, parent, session, signals, streams and limits do not differ."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    env |= {"SHOP_PROBED": "ü\udc80"} | ({"PYTHONUNBUFFERED": unbuffered} if unbuffered else {})
    readable, writable = os.pipe()
    try:
        forked, executed = found(env=env, pass_fds=[writable], **options)
    finally:
        os.close(readable)
        os.close(writable)
    assert forked["found"] == executed["found"]
    assert forked["given"] == executed["given"] == "a line\n"
    assert forked["found"]["parent"] == os.getpid()
    assert forked["drawn"][0] != executed["drawn"][0]


def test_two_draw_different_numbers() -> None:
    """Chance is not inherited."""
    drawn = [json.loads(ended(fresh=False).stdout.splitlines()[0])["drawn"] for _ in range(2)]
    assert not set(drawn[0]) & set(drawn[1])


@pytest.mark.parametrize("end", ["", *(end for end in ENDS if end != "wait")])
def test_it_ends_the_same(end: str) -> None:
    """Its exit status or signal, its last words and what it does at exit do not differ."""
    forked, executed = (ended(*([end] if end else []), fresh=fresh) for fresh in (False, True))
    assert forked.returncode == executed.returncode
    assert forked.stdout.splitlines()[1:] == executed.stdout.splitlines()[1:]
    # The frames above the program's own are others.
    words = [re.sub(r"(?s)Traceback.*(?=  File .*probe\.py)", "", each.stderr) for each in (forked, executed)]
    assert words[0] == words[1]


async def test_it_is_started_by_an_event_loop() -> None:
    """With pipes of all three kinds, and it can be killed and waited for."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*PROBE, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    assert process.stdout is not None
    assert parent_of(process.pid) == os.getpid()
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    assert await process.stdout.read() == b""
    process = await asyncio.create_subprocess_exec(*PROBE, "word", stdin=pipe, stdout=pipe, stderr=pipe)
    output, errors = await process.communicate(b"hello\n")
    assert (json.loads(output.splitlines()[0])["given"], errors) == ("hello\n", b"a last word\n")
    assert process.returncode == 1


@pytest.mark.parametrize(
    "options",
    [
        {"cwd": "/"},
        {"env": {**os.environ, "PYTHONHASHSEED": "1"}},
        {"umask": 0o22},
        {"shell": True},
        {"close_fds": False},
    ],
    ids=["folder", "variable", "umask", "shell", "descriptors"],
)
def test_what_is_no_such_command_is_executed(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a fork could not give is left to the operating system."""
    requests: list[object] = []
    monkeypatch.setattr(popen.SERVER, "fork", lambda *request: requests.append(request))
    subprocess.run([*PROBE], **options, input=b"", capture_output=True, check=False)
    subprocess.run([sys.executable, "-m", "json.tool", "--help"], capture_output=True, check=True)
    subprocess.run([sys.executable, "-u", *PROBE[1:]], input=b"", capture_output=True, check=True)
    assert requests == []


def test_no_orphan_is_adopted() -> None:
    """Between requests this process is no parent of what others leave behind."""
    ended(fresh=False)
    leave = "sleep 1000 >/dev/null & echo $!"
    pid = int(subprocess.run(["sh", "-c", leave], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)
    try:
        assert parent_of(pid) != os.getpid()
    finally:
        os.kill(pid, signal.SIGKILL)


def in_a_shell(script: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A script in which `probe` is the probe, forked."""
    named = f'probe() {{ {popen.shell_python()} -m tests.forking.probe "$@"; }}; {script}'
    return subprocess.run(["bash", "-c", named], **options, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("end", ["", *(end for end in ENDS if end != "wait")])
def test_a_shell_sees_it_end_the_same(end: str) -> None:
    """Through a shell, too, its status, its words and what is given to it are its own."""
    forked = in_a_shell(f"echo a line | probe {end}; exit $?")
    executed = ended(*([end] if end else []), fresh=True)
    assert forked.returncode == (executed.returncode if executed.returncode >= 0 else 128 - executed.returncode)
    assert forked.stdout.splitlines()[1:] == executed.stdout.splitlines()[1:]
    assert json.loads(forked.stdout.splitlines()[0])["given"] == "a line\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
async def test_a_signal_to_a_shells_command_reaches_it(number: signal.Signals) -> None:
    """A script ends its command as it would end any other, and nothing of it is left."""
    started = f"coproc {{ exec {popen.shell_python()} -m tests.forking.probe wait; }}"
    told = 'echo >&"${COPROC[1]}"; read -r said <&"${COPROC[0]}"; echo "$said"'
    script = f"{started}; {told}; kill -{int(number)} $COPROC_PID; wait $COPROC_PID"
    shell = await asyncio.create_subprocess_exec("bash", "-c", script, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(shell.communicate(), 60)
    assert shell.returncode == 128 + number
    pid = json.loads(said)["drawn"][1]
    await eventually(lambda: not psutil.pid_exists(pid))


@pytest.mark.parametrize("fresh", [False, True])
def test_environment_is_changed_for_programs_alone(monkeypatch: pytest.MonkeyPatch, *, fresh: bool) -> None:
    """A program gets what a test sets; a library's thread that reads the process's own meanwhile is not disturbed."""
    before = ctypes.CDLL(None).getenv(b"PROBE_TEXT")
    monkeypatch.setenv("PROBE_TEXT", "of this test")
    assert ctypes.CDLL(None).getenv(b"PROBE_TEXT") == before == 0
    with popen.fresh_interpreters() if fresh else nullcontext():
        command = [sys.executable, "-m", "tests.forking.probe"]
        done = subprocess.run(command, input="a line\nanother\n", capture_output=True, text=True, check=False)
    assert json.loads(done.stdout.splitlines()[0])["found"]["environment"]["PROBE_TEXT"] == "of this test"
