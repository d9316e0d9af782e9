"""Email addresses: which ones mail can reach, and the one form in which each is stored and compared."""

from __future__ import annotations

import unicodedata

from email_validator import EmailNotValidError, validate_email

MAX_LENGTH = 254


def canonical_email(text: str) -> str:
    """The one form of an address: `ada@xn--mller-kva.de` for `Ada@MÜLLER.de`.

    Lower case and NFC before the @ (RFC 6532, section 3.1), after it the domain's ASCII form (RFC 5891, section 4.4).
    Raises `ValueError`, with the reason, for what no mail can reach; whether the domain exists is not checked.
    """
    text = text.strip()
    if len(text) > MAX_LENGTH:
        raise ValueError(f"must have at most {MAX_LENGTH} characters")
    try:
        # "test environment": .test, which RFC 6761 reserves, is a domain like any other.
        found = validate_email(text, check_deliverability=False, test_environment=True, strict=True)
    except EmailNotValidError as error:
        raise ValueError(f"must be an email address: {error}") from error
    if found.ascii_domain is None:
        raise ValueError("must be an email address with a domain")
    return f"{unicodedata.normalize('NFC', found.local_part.lower())}@{found.ascii_domain.lower()}"


def known_forms(typed: str) -> list[str]:
    """The forms under which an account may be stored, for the address that its owner types to sign in.

    The canonical one is last; before it what was typed, for accounts that are older than the canonical form and could
    not get it because another account has it.
    """
    as_typed = typed.strip().lower()
    try:
        return list(dict.fromkeys((as_typed, canonical_email(typed))))
    except ValueError:
        return [as_typed]
