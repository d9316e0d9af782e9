"""Files, their permissions and their limits. No framework, no database, no disk."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chassis.auth.identity import Principal
from chassis.errors import Kind, ShopError, invalid

MAX_CONTENT_TYPE = 255
UNKNOWN_CONTENT = "application/octet-stream"

# RFC 6838: type/subtype, then parameters; printable ASCII only, as it goes out in a header again.
_CONTENT_TYPE = re.compile(r"[!#$&^_.+A-Za-z0-9-]{1,127}/[!#$&^_.+A-Za-z0-9-]{1,127}( *;[ -~]*)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Content:
    """A sequence of bytes: its SHA-256 in lower-case hexadecimal, and how many there are."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    id: str
    content: Content
    content_type: str
    owner_id: str
    public: bool

    def visible_to(self, caller: Principal) -> bool:
        """Whether the caller may see it: all may if it is public, else its owner, administrators and processes."""
        owns = caller.signed_in and caller.subject == self.owner_id
        return self.public or owns or caller.is_admin or caller.is_service()


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """The uploader's declaration; `sha256` is empty when unknown."""

    content_type: str = ""
    sha256: str = ""
    public: bool = False

    def checked(self, caller: Principal) -> UploadRequest:
        """The request with its blanks filled in. Raises INVALID_INPUT, or FORBIDDEN for a public file."""
        problems: dict[str, str] = {}
        content_type = self.content_type or UNKNOWN_CONTENT
        if len(content_type) > MAX_CONTENT_TYPE or not _CONTENT_TYPE.fullmatch(content_type):
            problems["content_type"] = "must be a media type"
        if self.sha256 and not _SHA256.fullmatch(self.sha256):
            problems["sha256"] = "must be 64 lower-case hexadecimal digits"
        if problems:
            raise invalid("the upload cannot be accepted", **problems)
        if self.public and not (caller.is_admin or caller.is_service()):
            raise ShopError("FORBIDDEN", "only an administrator may publish a file", Kind.FORBIDDEN)
        return UploadRequest(content_type, self.sha256, self.public)


def byte_range(size: int, offset: int, length: int) -> tuple[int, int]:
    """Offset and length of a range; a length of 0 means all the rest, too long a one is cut.

    Raises INVALID_INPUT for negative numbers and RANGE_NOT_SATISFIABLE (RFC 9110, section 15.5.17) for a start behind
    the last byte.
    """
    if offset < 0 or length < 0:
        raise invalid("range must not be negative", **{"offset" if offset < 0 else "length": "must not be negative"})
    if offset and offset >= size:
        message = f"range starts at byte {offset}, but the file has {size} bytes"
        raise ShopError("RANGE_NOT_SATISFIABLE", message, Kind.INVALID, size=str(size))
    rest = size - offset
    return offset, min(length, rest) if length else rest


def too_large(limit: int) -> ShopError:
    return ShopError("FILE_TOO_LARGE", f"file must have at most {limit} bytes", Kind.INVALID, limit=str(limit))


def no_room() -> ShopError:
    """A full disk, a used-up quota or a file that the file system cannot hold (RFC 4918, section 11.5)."""
    message = "storage has no room for the file: it was not stored, send it again later"
    return ShopError("INSUFFICIENT_STORAGE", message, Kind.UNAVAILABLE, retry_after=60.0)


def not_writable() -> ShopError:
    """The disk fails, or may not be written."""
    message = "disk write failed: the file was not stored, send it again later"
    return ShopError("STORE_UNAVAILABLE", message, Kind.UNAVAILABLE, retry_after=5.0)


def check_digest(content: Content, expected: str) -> None:
    """Raise DIGEST_MISMATCH if a digest is expected and the content has another one."""
    if expected and content.sha256 != expected:
        message = f"received content has SHA-256 {content.sha256}, not the announced one: send the file again"
        raise ShopError("DIGEST_MISMATCH", message, Kind.INVALID, sha256=content.sha256)
