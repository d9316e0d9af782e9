"""Errors that are a setting's fault, as text for whoever started the process: the setting and what is wrong with it."""

from __future__ import annotations

import re
import sys

# The exit code of a process that was refused, for a setting or for what a command asks: a new start would be, too.
REFUSED = 2


def wrong_setting(error: BaseException) -> str:
    """Which setting has a value that cannot be read or used, without the value; empty for an error of another kind."""
    # Not imported here: where one of them was raised they are there.
    settings_error = getattr(sys.modules.get("pydantic_settings"), "SettingsError", ())
    validation_error = getattr(sys.modules.get("pydantic"), "ValidationError", ())
    if isinstance(error, settings_error):
        field = re.search(r'field "(\w+)"', str(error))
        return f"SHOP_{field[1].upper()} cannot be read: it must be JSON" if field else ""
    if isinstance(error, validation_error) and error.title.endswith("Settings"):
        # The first part of a place is the field; what follows lies within its value.
        # pydantic puts its own words before those of a validator of ours.
        said = [(str(each["loc"][0]).upper(), each["msg"].removeprefix("Value error, ")) for each in error.errors()]
        return "; ".join(f"SHOP_{setting} is wrong: {what}" for setting, what in said)
    # What a bootstrap says of settings that are each right, and together wrong.
    return str(error) if isinstance(error, ValueError) and str(error).startswith("SHOP_") else ""
