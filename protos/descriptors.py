"""The contracts as descriptors: as they stand, and as they were accepted last (`contracts.binpb`)."""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parent
ACCEPTED = ROOT / "contracts.binpb"


def current(root: Path = ROOT) -> FileDescriptorSet:
    """What the .proto files say, with their comments. Raises `RuntimeError` when protoc refuses one."""
    # Imported here: it takes a while, and generating code seldom needs it.
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "contracts.binpb"
        sources = sorted(str(path) for path in (root / "shop").rglob("*.proto"))
        arguments = [f"-I{root}", f"-I{files('grpc_tools') / '_proto'}", "--include_source_info", "--include_imports"]
        if protoc.main(["protoc", *arguments, f"--descriptor_set_out={target}", *sources]) != 0:
            message = "protoc refused a contract; its message is above"
            raise RuntimeError(message)
        return FileDescriptorSet.FromString(target.read_bytes())


def accepted() -> FileDescriptorSet:
    """What callers rely on."""
    return FileDescriptorSet.FromString(ACCEPTED.read_bytes())


def accept(contracts: FileDescriptorSet) -> None:
    """Let callers rely on these from now on."""
    bare = FileDescriptorSet.FromString(contracts.SerializeToString())
    for file in bare.file:
        file.ClearField("source_code_info")
    ACCEPTED.write_bytes(bare.SerializeToString(deterministic=True))


def ours(contracts: FileDescriptorSet) -> dict[str, FileDescriptorProto]:
    """Our own files by name; Google's are not ours to compare."""
    return {file.name: file for file in contracts.file if file.package.startswith("shop.")}
