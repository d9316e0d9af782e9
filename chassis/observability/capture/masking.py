"""Secrets become asterisks before anything is kept, in text of whatever protocol.

As many asterisks as the secret had bytes: lengths that the protocols carry (Content-Length, a protobuf field's, a
frame's) stay true. Pure, and in linear time: patterns only find where a secret begins, since one that also looks for
its end can be made to try for ever.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence

# Parts of names; a token's type is none.
_WORDS = (
    rb"(?:passw|passphrase|secret|token(?!_type\b)|api[_-]?key|authorization|cookie|credential|session[_-]?id"
    rb"|private[_-]?key|card[_-]?number|code[_-]?verifier|\bcv[cv]\b)"
)
_SECRET_NAME_PATTERN = rb"(?i)" + _WORDS
_SECRET_NAME = re.compile(_SECRET_NAME_PATTERN)
# How every name of a secret begins, and a line that signs in, in lower case. A pattern that begins with a set of bytes
# skips to them, which those that take any case do not: they are tried only where this one has found something.
_HINT = re.compile(rb"[acpst](?=ass[wp]|ecret|oken|pi|uth|ookie|redential|ession|rivate|ard|ode[_-]?v|v[cv])")
# What is in every text with a secret that is no card number, in lower case: looked for first, as most texts have none.
_MARKERS = (
    *(b"passw", b"passp", b"secret", b"token", b"api", b"auth", b"cookie", b"credential", b"session", b"private"),
    *(
        b"card",
        b"cvc",
        b"cvv",
        b"verifier",
        b"bearer",
        b"basic ",
        b"eyj",
        b"whsec",
        b"k_live",
        b"k_test",
        b"ghp",
        b"gho",
    ),
    *(b"github_pat", b"xox", b"://"),
)
# JSON, JSON within JSON, forms, queries, GraphQL: a name, a colon or an equals sign, and a value.
_NAMED_PATTERN = rb"(?i)" + _WORDS + rb"[\w.-]{0,64}\\{0,9}[\"']?\s{0,8}[:=]\s{0,8}"
_NAMED = re.compile(_NAMED_PATTERN)
_HEAD_NAME = re.compile(rb"(?i)authorization|cookie|token|secret|password|api-key")
# What a secret begins with or follows, wherever it stands.
_CREDENTIALS = re.compile(rb"b(?<!\w.)(?:earer[ .]|asic )")  # in lower case
_PREFIXES = re.compile(
    rb"[egrswx](?<!\w.)(?:(?<=e)yJ|(?<=w)hsec|(?<=s)k_(?:live|test)|(?<=r)k_live"
    rb"|(?<=g)(?:hp|ho|ithub_pat)|(?<=x)ox[bp])"
)
_END_OF_TOKEN = re.compile(rb"[^\w+/=~.-]")
_MIN_LENGTH = 4
_MAX_NAME = 200
# The digit is looked for first, as the engine skips to it.
_CARD = re.compile(rb"[2-6](?<![0-9A-Za-z].)(?:[ +-]?\d){12,18}(?![0-9A-Za-z])")
_DIGIT = re.compile(rb"\d")
# A card's number has 13 digits at least, with separators of one byte: without those it is a row of digits.
_TO_ZEROS, _SEPARATORS, _MIN_DIGITS = bytes.maketrans(b"123456789", b"0" * 9), b" +-", b"0" * 13

_SCHEME = re.compile(rb"(?i)(?:bearer|basic|digest) ")
_END_OF_WORD = re.compile(rb"[\s&;,\"'\\<>()\[\]{}]")
_END_OF_AUTHORITY = re.compile(rb"[/\s\"'@]")
_PRIVATE_KEY, _END_OF_KEY = b"PRIVATE KEY-----", b"-----END"

Span = tuple[int, int]


def masked(text: bytes) -> bytes:
    """The same bytes, with each secret's replaced; as many as before."""
    lower = text.lower()
    if _has_telltale(lower) and (found := list(_secrets(text, lower))):
        changed = bytearray(text)
        for start, end in found:
            changed[start:end] = b"*" * (end - start)
        text = bytes(changed)
    return _CARD.sub(_without_card, text) if _has_many_digits(text) else text


def may_hold_secret(text: bytes) -> bool:
    """False only where `masked` leaves this text, and every part of it, as it is."""
    return _has_telltale(text.lower()) or _has_many_digits(text)


def _has_telltale(lower: bytes) -> bool:
    for marker in _MARKERS:  # noqa: SIM110 - `any` takes twice as long
        if marker in lower:
            return True
    return False


def _has_many_digits(text: bytes) -> bool:
    return _MIN_DIGITS in text.translate(_TO_ZEROS, _SEPARATORS)


@functools.lru_cache(1024)
def is_secret(name: str) -> bool:
    """Whether a field, header or parameter of this name holds a secret."""
    return _SECRET_NAME.search(name.encode(errors="replace")) is not None


def masked_value(name: str, value: str) -> str:
    """A named value, masked if it is secret."""
    if is_secret(name):
        return "*" * len(value.encode(errors="surrogateescape"))
    return masked(value.encode(errors="surrogateescape")).decode(errors="surrogateescape")


def _secrets(text: bytes, lower: bytes) -> Iterator[Span]:
    if hints := [hint.start() for hint in _HINT.finditer(lower)]:
        yield from _in_lines(text)
        yield from _named(text, hints)
        yield from _in_elements(text, hints)
    yield from _tokens(text, lower)
    yield from _keys(text)
    yield from _in_addresses(text)


def _in_lines(text: bytes) -> Iterator[Span]:
    """Fields of HTTP and mail heads, all of their values; the credentials sent to a mail server."""
    start = 0
    for line in text.splitlines(keepends=True):
        name, colon, value = line.partition(b":")
        end = start + len(line.rstrip(b"\r\n"))
        is_field = colon and len(name) < 100 and name.replace(b"-", b"").replace(b"_", b"").isalnum()
        if is_field and _HEAD_NAME.search(name):
            leading = len(value) - len(value.lstrip())
            scheme = _SCHEME.match(value, leading)
            yield start + len(name) + 1 + (scheme.end() if scheme else leading), end
        elif line[:5].upper() == b"AUTH " and (space := line.find(b" ", 5)) > 0:
            yield start + space + 1, end
        start += len(line)


def _named(text: bytes, hints: Sequence[int]) -> Iterator[Span]:
    at = 0
    for hint in hints:
        if hint >= at and (name := _NAMED.match(text, hint)) is not None:
            start, at = _value(text, name.end())
            yield start, max(start, at)
            at = max(at, name.end())


def _value(text: bytes, at: int) -> Span:
    """The bytes of the value that begins here, less its quotes. One that was cut off has no end."""
    quote = at
    while text[quote : quote + 1] == b"\\":
        quote += 1
    if text[quote : quote + 1] == b'"':
        return quote + 1, _end_of_text(text, quote + 1, quote - at)
    for opening, closing in ((b"'", b"'"), (b"[", b"]")):
        if text[at : at + 1] == opening:
            return at + 1, _find(text, closing, at + 1)
    if _SCHEME.match(text, at):
        return at, at  # the credentials after it are found by it
    end = _END_OF_WORD.search(text, at)
    return at, end.start() if end else len(text)


def _end_of_text(text: bytes, at: int, slashes: int) -> int:
    """The end of a quoted text whose own quotes have so many backslashes before them."""
    while (quote := text.find(b'"', at)) >= 0:
        before = quote
        while text[before - 1 : before] == b"\\" and before > at:
            before -= 1
        if (quote - before) % 2 == 0 if slashes == 0 else quote - before == slashes:
            return quote - slashes
        at = quote + 1
    return len(text)


def _in_elements(text: bytes, hints: Sequence[int]) -> Iterator[Span]:
    """Content of XML elements with such names."""
    at = 0
    for hint in hints:
        opening = text.rfind(b"<", max(at, hint - _MAX_NAME), hint)
        if opening < 0:
            continue
        at = _find(text, b">", opening) + 1
        name = text[opening + 1 : min(at, opening + _MAX_NAME)].split(None, 1)[:1]
        if name and not name[0].startswith(b"/") and _SECRET_NAME.search(name[0]):
            yield min(at, len(text)), _find(text, b"<", at)


def _tokens(text: bytes, lower: bytes) -> Iterator[Span]:
    """Credentials after the name of their scheme, and keys that have a known prefix."""
    for pattern, where, included in ((_CREDENTIALS, lower, False), (_PREFIXES, text, True)):
        at = 0
        while (begin := pattern.search(where, at)) is not None:
            end = _END_OF_TOKEN.search(text, begin.end())
            at = end.start() if end else len(text)
            if at - begin.end() >= _MIN_LENGTH:
                yield begin.start() if included else begin.end(), at


def _keys(text: bytes) -> Iterator[Span]:
    """Private keys in PEM."""
    at = 0
    while (begin := text.find(_PRIVATE_KEY, at)) >= 0:
        at = _find(text, _END_OF_KEY, begin + len(_PRIVATE_KEY))
        yield begin + len(_PRIVATE_KEY), at
        at += len(_END_OF_KEY) + len(_PRIVATE_KEY)


def _in_addresses(text: bytes) -> Iterator[Span]:
    """Passwords in URLs."""
    at = 0
    while (begin := text.find(b"://", at)) >= 0:
        begin += 3
        found = _END_OF_AUTHORITY.search(text, begin)
        at = found.start() if found else len(text)
        if found is not None and found[0] == b"@" and (colon := text.find(b":", begin, at)) >= 0:
            yield colon + 1, at


def _find(text: bytes, what: bytes, at: int) -> int:
    found = text.find(what, at)
    return len(text) if found < 0 else found


def _without_card(found: re.Match[bytes]) -> bytes:
    return _DIGIT.sub(b"*", found[0]) if _is_card(found[0]) else found[0]


def _is_card(text: bytes) -> bool:
    """Whether digits pass the check of ISO/IEC 7812 (Luhn)."""
    digits = [int(digit) for digit in _DIGIT.findall(text)]
    odd = digits[-1::-2]
    even = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return sum(odd + even) % 10 == 0
