"""The demo products' pictures (an admin's), drawn in code: the category's colour, the product's initials."""

from __future__ import annotations

PICTURE = "image/svg+xml"
OWNER = "1"

_COLOURS = {
    "hardware": "#31557a",
    "collectors": "#7a5a31",
    "books": "#5f3a6e",
    "courses": "#2f6b52",
    "provisions": "#8a3f3f",
}

# product id, initials, category
PRODUCTS = (
    ("42", "MK", "hardware"),
    ("123", "SA", "courses"),
    ("1", "Tb", "hardware"),
    ("2", "DL", "hardware"),
    ("3", "UD", "hardware"),
    ("4", "NH", "hardware"),
    ("5", "Wc", "hardware"),
    ("6", "SM", "hardware"),
    ("7", "CM", "collectors"),
    ("8", "PN", "collectors"),
    ("9", "SR", "collectors"),
    ("10", "NC", "collectors"),
    ("11", "MP", "books"),
    ("12", "WP", "books"),
    ("13", "CF", "books"),
    ("14", "LG", "books"),
    ("15", "ES", "courses"),
    ("16", "GQ", "courses"),
    ("17", "WH", "courses"),
    ("18", "gR", "courses"),
    ("19", "CS", "provisions"),
    ("20", "GT", "provisions"),
    ("21", "RD", "provisions"),
    ("22", "St", "provisions"),
)


def demo_pictures() -> dict[str, bytes]:
    """File id -> SVG; the same bytes each time."""
    return {f"product-{product_id}": _svg(initials, _COLOURS[category]) for product_id, initials, category in PRODUCTS}


def _svg(initials: str, colour: str) -> bytes:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="240" viewBox="0 0 320 240">'
        f'<rect width="320" height="240" fill="{colour}"/>'
        '<circle cx="160" cy="120" r="84" fill="#fff" fill-opacity=".14"/>'
        '<text x="160" y="124" fill="#fff" font-family="sans-serif" font-size="76" font-weight="600"'
        f' text-anchor="middle" dominant-baseline="middle">{initials}</text>'
        "</svg>\n"
    ).encode()
