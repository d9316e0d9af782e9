"""The contracts' own commands.

`python -m protos` generates the Python code of every .proto. It writes only what is older than its contract, so it
costs nothing to call before each start. Type stubs are written too where mypy-protobuf is installed (it is a
development dependency).

`python -m protos check` lists what is undocumented, misnamed, or would break a caller; exit code 1 if there is any.

`python -m protos accept` lets callers rely on what was added; with `--break` also on what would break them.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parent
# protoc writes `from shop.orders.v1 import …`, but `shop` is the command line's package.
OWN_IMPORT = re.compile(r"^(from|import) shop\.", re.MULTILINE)


def outdated(protos: list[Path]) -> bool:
    """Whether any contract, or this generator, is newer than what was generated from it."""
    newest = max(path.stat().st_mtime for path in [*protos, Path(__file__)])
    endings = ["_pb2.py", "_pb2_grpc.py"]
    if _types_available():
        endings += ["_pb2.pyi", "_pb2_grpc.pyi"]
    outputs = [proto.with_name(proto.stem + ending) for proto in protos for ending in endings]
    return any(not path.exists() or path.stat().st_mtime < newest for path in outputs)


def generate(protos: list[Path]) -> None:
    """Run protoc over all contracts. Raises `RuntimeError` when it refuses one."""
    # Imported here: it takes a while, and most calls find nothing to do.
    from grpc_tools import protoc

    arguments = [
        f"-I{ROOT}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"--python_out={ROOT}",
        f"--grpc_python_out={ROOT}",
    ]
    if _types_available():
        for plugin in ("mypy", "mypy_grpc"):
            program = Path(sys.executable).with_name(f"protoc-gen-{plugin}")
            arguments += [f"--plugin=protoc-gen-{plugin}={program}", f"--{plugin}_out=quiet:{ROOT}"]
    if protoc.main(["protoc", *arguments, *map(str, protos)]) != 0:
        message = "protoc refused a contract; its message is above"
        raise RuntimeError(message)
    for proto in protos:
        for path in proto.parent.glob(f"{proto.stem}_pb2*.py*"):
            path.write_text(OWN_IMPORT.sub(r"\1 protos.shop.", path.read_text()))


def _types_available() -> bool:
    return importlib.util.find_spec("mypy_protobuf") is not None


def check() -> list[str]:
    """Everything that is wrong with the contracts, a line each."""
    from protos import contract_checks

    found = contract_checks.lint() + contract_checks.breaking()
    if not found and contract_checks.unaccepted():
        found.append("the contracts hold additions that no check protects yet; run: python -m protos accept")
    return found


def accept(*, breaks_too: bool) -> list[str]:
    """Accept the contracts as they stand; what would break a caller, unless that is meant, is returned instead."""
    from protos import contract_checks

    found = [] if breaks_too else contract_checks.breaking()
    return found or contract_checks.build()


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        protos = sorted((ROOT / "shop").rglob("*.proto"))
        if outdated(protos):
            generate(protos)
        return 0
    if arguments == ["check"]:
        found = check()
    elif arguments in (["accept"], ["accept", "--break"]):
        found = accept(breaks_too=len(arguments) > 1)
    else:
        sys.stderr.write(__doc__ or "")
        return 2
    sys.stderr.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
