"""Errors over gRPC: a status with `google.rpc` details.

The details travel as google.rpc.Status in the trailing metadata, as described in Google AIP-193.
"""

from __future__ import annotations

import grpc
import grpc.aio
from google.protobuf.any import pack
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from chassis.errors import Kind, ShopError, timed_out, unavailable

DOMAIN = "shop.test"
STATUS_DETAILS = "grpc-status-details-bin"

STATUS_OF = {kind: grpc.StatusCode[kind.grpc_status] for kind in Kind}
KIND_OF = {status: kind for kind, status in STATUS_OF.items()}


def status_of(error: ShopError) -> tuple[grpc.StatusCode, bytes]:
    """An error as a status code and a serialized google.rpc.Status."""
    code = STATUS_OF[error.kind]
    details: list[AnyMessage] = [
        pack(error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN, metadata=error.details))
    ]
    if error.fields:
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=why)
            for field, why in error.fields.items()
        ]
        details.append(pack(error_details_pb2.BadRequest(field_violations=violations)))
    if error.retry_after is not None:
        delay = Duration(nanos=int(error.retry_after % 1 * 1e9), seconds=int(error.retry_after))
        details.append(pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    number = code.value[0]
    return code, status_pb2.Status(code=number, message=error.message, details=details).SerializeToString()


def has_details(error: grpc.aio.AioRpcError) -> bool:
    """Whether the upstream's own code has made this error, not the way to it."""
    return any(key == STATUS_DETAILS for key, _ in error.trailing_metadata() or ())


def error_from(error: grpc.aio.AioRpcError, peer: str) -> ShopError:
    """An upstream's error as ours; UPSTREAM_UNAVAILABLE or DEADLINE_EXCEEDED when it did not answer."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS and isinstance(value, bytes):
            return _from_details(error, status_pb2.Status.FromString(value))
    # Our own cancelling is no error of the call's: this one comes from a server that stopped with the call under way.
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return unavailable(peer)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return timed_out(peer)
    kind = KIND_OF.get(error.code(), Kind.INTERNAL)
    return ShopError(f"UPSTREAM_{error.code().name}", error.details() or error.code().name, kind, upstream=peer)


def _from_details(error: grpc.aio.AioRpcError, status: status_pb2.Status) -> ShopError:
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for target in (info, bad_request, retry):
            if detail.Is(target.DESCRIPTOR):
                detail.Unpack(target)
    return ShopError(
        info.reason or "UPSTREAM_ERROR",
        status.message,
        KIND_OF.get(error.code(), Kind.INTERNAL),
        fields={violation.field: violation.description for violation in bad_request.field_violations},
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
        **dict(info.metadata),
    )
