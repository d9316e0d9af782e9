"""What a change of the contracts would break: on the wire, in the JSON of events, or in code that was generated.

Everything that was accepted has to stay: files, services, methods with their types and streams, messages, fields with
their number, name and type, enum values. A field may go if its number and its name are reserved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from protos.descriptors import ours


def breaks(before: FileDescriptorSet, after: FileDescriptorSet) -> list[str]:
    """One sentence for each thing that would break."""
    return [each for name, file in ours(before).items() for each in _file(name, file, ours(after).get(name))]


def additions(before: FileDescriptorSet, after: FileDescriptorSet) -> bool:
    """Whether there is anything that was not accepted yet."""

    def bare(contracts: FileDescriptorSet) -> dict[str, bytes]:
        found = {}
        for name, file in ours(contracts).items():
            copy = FileDescriptorProto.FromString(file.SerializeToString())
            copy.ClearField("source_code_info")
            found[name] = copy.SerializeToString(deterministic=True)
        return found

    return bare(before) != bare(after)


def _file(name: str, before: FileDescriptorProto, after: FileDescriptorProto | None) -> Iterator[str]:
    if after is None:
        yield f"{name} is gone"
        return
    if before.package != after.package:
        yield f"{name}: the package {before.package} is now {after.package}"
    services = {each.name: each for each in after.service}
    for service in before.service:
        yield from _service(f"{before.package}.{service.name}", service, services.get(service.name))
    messages = {each.name: each for each in after.message_type}
    for message in before.message_type:
        yield from _message(f"{before.package}.{message.name}", message, messages.get(message.name))
    enums = {each.name: each for each in after.enum_type}
    for enum in before.enum_type:
        yield from _enum(f"{before.package}.{enum.name}", enum, enums.get(enum.name))


def _service(name: str, before: ServiceDescriptorProto, after: ServiceDescriptorProto | None) -> Iterator[str]:
    if after is None:
        yield f"{name} is gone"
        return
    methods = {each.name: each for each in after.method}
    for method in before.method:
        now = methods.get(method.name)
        if now is None:
            yield f"{name}.{method.name} is gone"
        elif _signature(method) != _signature(now):
            yield f"{name}.{method.name} was {_signature(method)} and is {_signature(now)}"


def _signature(method: MethodDescriptorProto) -> str:
    asked = ("stream " if method.client_streaming else "") + method.input_type.lstrip(".")
    answered = ("stream " if method.server_streaming else "") + method.output_type.lstrip(".")
    return f"({asked}) returns ({answered})"


def _message(name: str, before: DescriptorProto, after: DescriptorProto | None) -> Iterator[str]:
    if after is None:
        yield f"{name} is gone"
        return
    fields = {each.number: each for each in after.field}
    for field in before.field:
        now = fields.get(field.number)
        if now is None:
            if not _reserved(after, field):
                yield f"{name}.{field.name} is gone; reserve {field.number} and {field.name!r} if it has to go"
        elif _shape(before, field) != _shape(after, now):
            yield f"{name}: field {field.number} was {_shape(before, field)} and is {_shape(after, now)}"
    nested: Mapping[str, DescriptorProto] = {each.name: each for each in after.nested_type}
    for message in before.nested_type:
        yield from _message(f"{name}.{message.name}", message, nested.get(message.name))
    enums = {each.name: each for each in after.enum_type}
    for enum in before.enum_type:
        yield from _enum(f"{name}.{enum.name}", enum, enums.get(enum.name))


def _reserved(message: DescriptorProto, field: FieldDescriptorProto) -> bool:
    numbers = any(each.start <= field.number < each.end for each in message.reserved_range)
    return numbers and field.name in message.reserved_name


def _shape(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    """A field as a caller sees it: `optional int64 available`."""
    kind = field.type_name.lstrip(".") or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    label = FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower()
    choice = "" if not field.HasField("oneof_index") else f" in {message.oneof_decl[field.oneof_index].name}"
    return f"{label} {kind} {field.name}{choice}"


def _enum(name: str, before: EnumDescriptorProto, after: EnumDescriptorProto | None) -> Iterator[str]:
    if after is None:
        yield f"{name} is gone"
        return
    values = {each.number: each.name for each in after.value}
    for value in before.value:
        if values.get(value.number) != value.name:
            yield f"{name}: {value.name} was {value.number}, which is now {values.get(value.number, 'nothing')}"
