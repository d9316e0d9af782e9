"""The shop as `python -m tests.system.shop_with_imports up`: its processes write down what they imported themselves."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from chassis import process
from shop.cli import main
from shop.process_table import ProcessSpec
from shop.supervisor import child

_run, _notify_ready = child.run, process.notify_ready


def _recording(spec: ProcessSpec) -> None:
    inherited = set(sys.modules)

    def notify_ready(descriptor: int | None) -> bool:
        imported = sorted(set(sys.modules) - inherited)
        Path(os.environ["SHOP_DATA_DIR"], f"{spec.name}.imports").write_text(json.dumps(imported))
        return _notify_ready(descriptor)

    process.notify_ready = notify_ready
    _run(spec)


if __name__ == "__main__":
    child.run = _recording
    main()
