"""The demo products' pictures (an admin's), drawn in code: the category's colour, the product's initials."""

from __future__ import annotations

import asyncio

from services.storage.use_cases import Storage

_CONTENT_TYPE = "image/svg+xml"
_OWNER = "1"

# For each category its colour, and its products' initials by their ids.
_PICTURES = {
    "#31557a": {"42": "MK", "1": "Tb", "2": "DL", "3": "UD", "4": "NH", "5": "Wc", "6": "SM"},  # hardware
    "#7a5a31": {"7": "CM", "8": "PN", "9": "SR", "10": "NC"},  # collectors
    "#5f3a6e": {"11": "MP", "12": "WP", "13": "CF", "14": "LG"},  # books
    "#2f6b52": {"123": "SA", "15": "ES", "16": "GQ", "17": "WH", "18": "gR"},  # courses
    "#8a3f3f": {"19": "CS", "20": "GT", "21": "RD", "22": "St"},  # provisions
}


async def add_demo_pictures(storage: Storage) -> None:
    """Store the picture of each demo product as `product-<id>`, unless it is there."""
    # Together, as each waits for an fsync.
    await asyncio.gather(
        *(
            storage.put(f"product-{product_id}", _svg(initials, colour), _CONTENT_TYPE, _OWNER, public=True)
            for colour, products in _PICTURES.items()
            for product_id, initials in products.items()
        )
    )


def _svg(initials: str, colour: str) -> bytes:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="240" viewBox="0 0 320 240">'
        f'<rect width="320" height="240" fill="{colour}"/>'
        '<circle cx="160" cy="120" r="84" fill="#fff" fill-opacity=".14"/>'
        '<text x="160" y="124" fill="#fff" font-family="sans-serif" font-size="76" font-weight="600"'
        f' text-anchor="middle" dominant-baseline="middle">{initials}</text>'
        "</svg>\n"
    ).encode()
