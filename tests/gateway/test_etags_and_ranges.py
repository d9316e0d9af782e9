from __future__ import annotations

import pytest

from chassis.errors import ShopError
from gateway.http.etags import none_match, version_etag, versions_wanted
from gateway.http.range_requests import wanted_bytes
from gateway.routes.files import expected_sha256


@pytest.mark.parametrize(
    ("tags", "needed"),
    [
        (None, True),
        ("", True),
        ("*", False),
        ('"a"', True),
        ('W/"a-1"', False),
        ('"x" , "a-1"', False),
        ("nonsense", True),
    ],
)
def test_if_none_match(tags: str | None, needed: bool) -> None:
    """RFC 9110, 13.1.2: weak comparison against each tag of the list."""
    assert none_match(tags, version_etag("a", 1)) is needed


@pytest.mark.parametrize(
    ("tags", "versions"), [(None, None), ("*", None), ('"a-1"', [1]), ('"b-7", "a-1", W/"a-2", "a-3"', [1, 3])]
)
def test_if_match(tags: str | None, versions: list[int] | None) -> None:
    """RFC 9110, 13.1.1: strong comparison, so weak tags never match."""
    assert versions_wanted(tags, "a") == versions


@pytest.mark.parametrize("tags", ["", "nonsense", '"b-1"', 'W/"a-1"', '"a-x"', '"a-9999999999999999999"'])
def test_if_match_never(tags: str) -> None:
    """A condition that no version can meet fails, rather than being forgotten."""
    with pytest.raises(ShopError, match="VERSION_MISMATCH"):
        versions_wanted(tags, "a")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=2-", (2, 8)),
        ("bytes=-4", (6, 4)),
        ("bytes=-400", (0, 10)),
        ("bytes=9-99999999999", (9, 1)),
        ("bytes=0-1,3-4", None),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_range(header: str | None, wanted: tuple[int, int] | None) -> None:
    """RFC 9110, 14.2: one satisfiable range is honoured, anything else may be ignored."""
    assert wanted_bytes(header, 10) == wanted


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=0-", 0), ("bytes=-1", 0), ("bytes=-0", 10)])
def test_range_not_satisfiable(header: str, size: int) -> None:
    """RFC 9110, 14.1.2: a range without a single byte of the file cannot be satisfied."""
    with pytest.raises(ShopError, match="RANGE_NOT_SATISFIABLE") as refusal:
        wanted_bytes(header, size)
    assert refusal.value.message == f"range must include one of the file's {size} bytes"


@pytest.mark.parametrize(
    ("header", "digest"),
    [
        (None, ""),
        ("sha-512=:AAAA:", ""),
        (f"sha-512=:AAAA:, sha-256=:{'A' * 43}=:", "00" * 32),
        (f"sha-256=:{'A' * 43}=:;x=1", "00" * 32),
    ],
)
def test_digest(header: str | None, digest: str) -> None:
    """RFC 9530: of the digests that are given, the SHA-256 is taken."""
    assert expected_sha256(header) == digest
