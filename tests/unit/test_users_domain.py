"""The rules of accounts."""

from __future__ import annotations

import pytest

from chassis.errors import Kind, ShopError
from services.users.domain import check_registration, email_taken, wrong_credentials

NAME, EMAIL, PASSWORD = "Ada", "ada@shop.test", "a-password"


def problems(*, name: str = NAME, email: str = EMAIL, password: str = PASSWORD) -> dict[str, str]:
    """The fields that are refused, and why; none where the registration is accepted."""
    try:
        check_registration(name, email, password)
    except ShopError as error:
        return dict(error.fields)
    return {}


def test_a_registration_that_is_accepted() -> None:
    """Name, address and password that keep the rules."""
    assert problems() == {}


def test_a_refused_registration_is_an_invalid_input() -> None:
    """With the code and the words that clients show."""
    with pytest.raises(ShopError) as refusal:
        check_registration("", EMAIL, PASSWORD)
    assert (refusal.value.code, refusal.value.kind) == ("INVALID_INPUT", Kind.INVALID)
    assert refusal.value.message == "the registration cannot be accepted"


@pytest.mark.parametrize("name", ["a", "a" * 100, f"  {'a' * 100}  "])
def test_names_that_are_accepted(name: str) -> None:
    """One to a hundred characters; blanks around them are not counted."""
    assert problems(name=name) == {}


@pytest.mark.parametrize("name", ["", "   ", "a" * 101])
def test_names_that_are_refused(name: str) -> None:
    """None, only blanks, or a hundred and one characters."""
    assert problems(name=name) == {"name": "must have 1 to 100 characters"}


@pytest.mark.parametrize("password", ["a" * 8, "a" * 128])
def test_passwords_that_are_accepted(password: str) -> None:
    """Eight to a hundred and twenty-eight characters."""
    assert problems(password=password) == {}


@pytest.mark.parametrize("password", ["", "a" * 7, "a" * 129])
def test_passwords_that_are_refused(password: str) -> None:
    """One too few, or one too many."""
    assert problems(password=password) == {"password": "must have 8 to 128 characters"}


def test_an_address_that_is_none_is_refused_with_the_reason() -> None:
    """The reason is the address rule's own."""
    found = problems(email="nobody")
    assert list(found) == ["email"]
    assert found["email"].startswith("must be an email address")


def test_every_wrong_field_is_named_at_once() -> None:
    """A client learns all of it from one answer."""
    assert problems(name="", email="nobody", password="").keys() == {"name", "email", "password"}


def test_a_taken_address_is_a_conflict_that_names_it() -> None:
    """With a code that clients can act on."""
    error = email_taken(EMAIL)
    assert (error.code, error.message) == ("EMAIL_TAKEN", "ada@shop.test is registered already")
    assert error.kind is Kind.CONFLICT


def test_wrong_credentials_do_not_say_which_half_was_wrong() -> None:
    """One answer for an unknown name and for a wrong password."""
    error = wrong_credentials()
    assert (error.code, error.message) == ("WRONG_CREDENTIALS", "wrong email or password")
    assert error.kind is Kind.UNAUTHENTICATED
