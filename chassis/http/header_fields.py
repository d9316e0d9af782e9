"""Reading the fields of a request's head (RFC 9110, section 5.6) in linear time, without regular expressions."""

from __future__ import annotations

from urllib.request import parse_http_list


def elements(text: str) -> list[str]:
    """The elements of a comma-separated field, without the space around them; quoted commas separate nothing."""
    found = parse_http_list(text) if '"' in text else text.split(",")
    return [element for each in found if (element := each.strip(" \t"))]


def weights(text: str) -> dict[str, float]:
    """The choices of `Accept`, `Accept-Encoding` and the like: lower-case name -> quality (RFC 9110, section 12.4.2).

    Parameters but `q` are left out; an element whose `q` is malformed is left out.
    """
    found: dict[str, float] = {}
    for element in elements(text.lower()):
        name, *parameters = element.split(";")
        quality = next((value for each in parameters if (value := _quality(each)) is not None), 1.0)
        if quality >= 0:
            found[name.strip(" \t")] = quality
    return found


def media_weight(accepted: dict[str, float], media_type: str) -> float:
    """Quality value of a media type by the most specific range of an `Accept` (RFC 9110, section 12.5.1); 0: not."""
    for media_range in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        if media_range in accepted:
            return accepted[media_range]
    return 0.0


def _quality(parameter: str) -> float | None:
    """The value of a `q` parameter, -1 where it is malformed; None for another parameter."""
    name, _, value = parameter.partition("=")
    if name.strip(" \t") != "q":
        return None
    value = value.strip(" \t")
    digits = value.replace(".", "", 1)
    if len(value) > len("0.123") or not (digits.isascii() and digits.isdecimal()) or value[1:2] not in ("", "."):
        return -1.0
    return float(value) if float(value) <= 1 else -1.0
