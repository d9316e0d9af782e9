"""The `shop` command, also as `python -m shop`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line. A Ctrl-C while it is imported ends the program without a traceback of its imports."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # in the background of a script it is ignored, and stays so
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from shop.cli import main as command_line

    signal.signal(signal.SIGINT, before)
    command_line()


if __name__ == "__main__":
    main()
