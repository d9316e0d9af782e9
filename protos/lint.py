"""Every service, method, message, field and enum value says what it means, and is named as the others are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

from protos.descriptors import ours

_TYPE = re.compile(r"[A-Z][A-Za-z0-9]*")
_FIELD = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_VALUE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")

# The numbers by which descriptor.proto knows the parts of a file, a service, a message and an enum.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_METHOD, _FIELD_OF, _NESTED, _ENUM_OF, _ONEOF, _ENUM_VALUE = 2, 2, 3, 4, 8, 2


def problems(contracts: FileDescriptorSet) -> list[str]:
    """One sentence for each thing that is undocumented or misnamed."""
    return [each for file in ours(contracts).values() for each in _File(file).problems()]


class _File:
    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._documented = {
            tuple(location.path) for location in file.source_code_info.location if location.leading_comments.strip()
        }

    def problems(self) -> Iterator[str]:
        file = self._file
        if not file.name.startswith(file.package.replace(".", "/") + "/"):
            yield f"{file.name}: the package {file.package} belongs in another folder"
        for index, service in enumerate(file.service):
            path = (_SERVICE, index)
            yield from self._check(service.name, path, _TYPE)
            for number, method in enumerate(service.method):
                yield from self._check(f"{service.name}.{method.name}", (*path, _METHOD, number), _TYPE)
        for index, message in enumerate(file.message_type):
            yield from self._message(message.name, message, (_MESSAGE, index))
        for index, enum in enumerate(file.enum_type):
            yield from self._enum(enum.name, enum, (_ENUM, index))

    def _message(self, name: str, message: DescriptorProto, path: Sequence[int]) -> Iterator[str]:
        if message.options.map_entry:
            return  # made by protoc for a map field
        yield from self._check(name, path, _TYPE)
        for index, field in enumerate(message.field):
            yield from self._check(f"{name}.{field.name}", (*path, _FIELD_OF, index), _FIELD)
        made = {field.oneof_index for field in message.field if field.proto3_optional}
        for index, choice in enumerate(message.oneof_decl):
            if index not in made:
                yield from self._check(f"{name}.{choice.name}", (*path, _ONEOF, index), _FIELD)
        for index, nested in enumerate(message.nested_type):
            yield from self._message(f"{name}.{nested.name}", nested, (*path, _NESTED, index))
        for index, enum in enumerate(message.enum_type):
            yield from self._enum(f"{name}.{enum.name}", enum, (*path, _ENUM_OF, index))

    def _enum(self, name: str, enum: EnumDescriptorProto, path: Sequence[int]) -> Iterator[str]:
        yield from self._check(name, path, _TYPE)
        for index, value in enumerate(enum.value):
            yield from self._check(f"{name}.{value.name}", (*path, _ENUM_VALUE, index), _VALUE)

    def _check(self, name: str, path: Sequence[int], style: re.Pattern[str]) -> Iterator[str]:
        if tuple(path) not in self._documented:
            yield f"{self._file.name}: {name} says nothing about itself"
        if not style.fullmatch(name.rpartition(".")[2]):
            yield f"{self._file.name}: {name} is not named as the others are"
