"""Who may see a file, what an upload may declare, and ranges."""

from __future__ import annotations

import pytest

from chassis.auth.identity import ANONYMOUS, Principal
from chassis.errors import Kind, ShopError
from services.storage.domain import (
    Content,
    StoredFile,
    UploadRequest,
    byte_range,
    check_digest,
    no_room,
    not_writable,
    too_large,
)

CALLERS = {
    "nobody": ANONYMOUS,
    "owner": Principal("u1", "customer"),
    "stranger": Principal("u2", "customer"),
    "admin": Principal("a1", "admin"),
    "process": Principal("gateway", "service"),
}
DIGEST = "0123456789abcdef" * 4


def facts_of(error: ShopError) -> tuple[str, str, Kind, float | None]:
    return error.code, error.message, error.kind, error.retry_after


@pytest.mark.parametrize(
    ("public", "owner", "seen_by"),
    [
        (True, "u1", set(CALLERS)),
        (False, "u1", {"owner", "admin", "process"}),
        # As nobody's subject is: no account owns it.
        (False, "", {"admin", "process"}),
    ],
)
def test_who_sees_a_file(owner: str, seen_by: set[str], *, public: bool) -> None:
    """Public ones are for anyone; others for their owner, administrators and processes."""
    file = StoredFile("f1", Content(DIGEST, 3), "text/plain", owner, public)
    assert {name for name, caller in CALLERS.items() if file.visible_to(caller)} == seen_by


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/html; charset=utf-8", "a/b", f"{'a' * 127}/{'b' * 127}", "application/vnd.shop+json ;v=1"],
)
def test_media_types_that_are_accepted(content_type: str) -> None:
    """A type and a subtype, with parameters or without."""
    request = UploadRequest(content_type, DIGEST)
    assert request.checked(CALLERS["owner"]) == request


def test_an_upload_without_a_type_is_bytes() -> None:
    """What is not declared is filled in; a digest that is not known is not asked for."""
    assert UploadRequest().checked(CALLERS["owner"]) == UploadRequest("application/octet-stream", "", public=False)


def test_a_type_has_at_most_so_many_characters() -> None:
    """255 with its parameters."""
    longest = "text/plain;" + "a" * 244
    assert UploadRequest(longest).checked(CALLERS["owner"]).content_type == longest
    with pytest.raises(ShopError, match="the upload cannot be accepted"):
        UploadRequest(longest + "a").checked(CALLERS["owner"])


@pytest.mark.parametrize("content_type", ["plain", "text/", "/plain", "text/plain\r\nX: y", "text/pl ain", "a/ä"])
def test_media_types_that_are_refused(content_type: str) -> None:
    """What would break the header in which it goes out again."""
    with pytest.raises(ShopError) as refusal:
        UploadRequest(content_type).checked(CALLERS["owner"])
    assert facts_of(refusal.value) == ("INVALID_INPUT", "the upload cannot be accepted", Kind.INVALID, None)
    assert refusal.value.fields == {"content_type": "must be a media type"}


@pytest.mark.parametrize("digest", [DIGEST[1:], DIGEST + "0", DIGEST.upper(), "g" * 64])
def test_digests_that_are_refused(digest: str) -> None:
    """Too short, too long, in capitals, or no hexadecimal digits."""
    with pytest.raises(ShopError) as refusal:
        UploadRequest("text/plain", digest).checked(CALLERS["owner"])
    assert refusal.value.fields == {"sha256": "must be 64 lower-case hexadecimal digits"}


@pytest.mark.parametrize("caller", ["admin", "process"])
def test_who_may_publish(caller: str) -> None:
    """Administrators and processes; the file stays public."""
    assert UploadRequest("text/plain", "", public=True).checked(CALLERS[caller]).public


def test_customers_may_not_publish() -> None:
    """The refusal names the role that it takes."""
    with pytest.raises(ShopError) as refusal:
        UploadRequest("text/plain", "", public=True).checked(CALLERS["owner"])
    assert facts_of(refusal.value) == ("FORBIDDEN", "only an administrator may publish a file", Kind.FORBIDDEN, None)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ((0, 0), (0, 10)),
        ((0, 1), (0, 1)),
        ((0, 10), (0, 10)),
        ((0, 11), (0, 10)),
        ((1, 0), (1, 9)),
        ((9, 0), (9, 1)),
        ((9, 5), (9, 1)),
        ((3, 4), (3, 4)),
    ],
)
def test_ranges_of_ten_bytes(asked: tuple[int, int], given: tuple[int, int]) -> None:
    """A length of 0 is all the rest, too long a one is cut."""
    assert byte_range(10, *asked) == given


def test_a_file_without_bytes_has_one_range() -> None:
    """All of it, which is nothing."""
    assert byte_range(0, 0, 0) == (0, 0)


@pytest.mark.parametrize(("offset", "length", "field"), [(-1, 0, "offset"), (0, -1, "length"), (-1, -1, "offset")])
def test_negative_ranges_are_refused(offset: int, length: int, field: str) -> None:
    """The number that is wrong is named."""
    with pytest.raises(ShopError) as refusal:
        byte_range(10, offset, length)
    assert facts_of(refusal.value) == ("INVALID_INPUT", "range must not be negative", Kind.INVALID, None)
    assert refusal.value.fields == {field: "must not be negative"}


@pytest.mark.parametrize(("size", "offset"), [(10, 10), (10, 11), (0, 1)])
def test_a_range_behind_the_last_byte_is_refused(size: int, offset: int) -> None:
    """With the size, which the answer's header names (RFC 9110, section 15.5.17)."""
    with pytest.raises(ShopError) as refusal:
        byte_range(size, offset, 0)
    message = f"range starts at byte {offset}, but the file has {size} bytes"
    assert facts_of(refusal.value) == ("RANGE_NOT_SATISFIABLE", message, Kind.INVALID, None)
    assert refusal.value.details == {"size": str(size)}


def test_a_file_that_is_too_large_names_the_limit() -> None:
    """In words and for programs."""
    error = too_large(5)
    assert facts_of(error) == ("FILE_TOO_LARGE", "file must have at most 5 bytes", Kind.INVALID, None)
    assert error.details == {"limit": "5"}


def test_a_full_disk_says_when_to_come_again() -> None:
    """Room has to be made first, so that is later than after a disk that fails for a moment."""
    message = "storage has no room for the file: it was not stored, send it again later"
    assert facts_of(no_room()) == ("INSUFFICIENT_STORAGE", message, Kind.UNAVAILABLE, 60.0)
    message = "disk write failed: the file was not stored, send it again later"
    assert facts_of(not_writable()) == ("STORE_UNAVAILABLE", message, Kind.UNAVAILABLE, 5.0)


def test_a_digest_is_compared_where_one_was_announced() -> None:
    """Another one is refused, and shown."""
    arrived = Content(DIGEST, 3)
    check_digest(arrived, "")
    check_digest(arrived, DIGEST)
    with pytest.raises(ShopError) as refusal:
        check_digest(arrived, "f" * 64)
    message = f"received content has SHA-256 {DIGEST}, not the announced one: send the file again"
    assert facts_of(refusal.value) == ("DIGEST_MISMATCH", message, Kind.INVALID, None)
    assert refusal.value.details == {"sha256": DIGEST}
