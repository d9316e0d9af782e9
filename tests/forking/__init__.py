"""Programs of ours that tests start, forked from a warm interpreter instead of started in a cold one.

A fresh interpreter spends 0.8 to 1.5 s of processor time on imports before the first line of a program runs, and the
suite starts thousands. So each worker keeps one server (`tests.forking.server`) that has imported what the programs
share, and `subprocess.Popen` starts `python -m PROGRAM …` for the `PROGRAMS` below by a fork of it.

Such a process is as real as one that was executed. It is a process of its own, a child of the worker that started it,
with its own pid, memory, descriptors, environment, streams, signals and exit status; it is killed, waited for and
looked at as any other, and it leaves through the interpreter's own end. No thread, socket or event loop exists in the
server before the fork: importing our modules opens nothing and reads no environment, which is a rule of the house, and
`shop up` forks its processes in the same way. `tests/unit/test_forking.py` runs one program both ways and compares all
that it finds. What remains to be proven in a cold interpreter is that a program imports what it needs, so that
`tests/system/test_entry_points.py` starts those of the shop there, and a test of the README its console script.

Whatever is not exactly such a command (another folder, another interpreter's option, a variable that is read when an
interpreter starts) is executed, and so is everything with TEST_START_METHOD=spawn or `fresh_interpreters()`.
"""

from __future__ import annotations

PROGRAMS = frozenset(
    {
        "legacy_soap",
        "services.notifier",
        "shop",
        "tests.contract.broker_process",
        "tests.contract.relay_process",
        "tests.contract.store_process",
        "tests.forking.probe",
        "tests.reports.copy_process",
        "tests.system.fake_shop",
        "webhooks",
    }
)
