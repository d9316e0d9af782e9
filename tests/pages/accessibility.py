"""What axe-core finds in a page: rules of WCAG and of good practice, in what is shown of it."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

# The colours of a text are looked up element by element, which takes most of axe's time where hundreds are alike.
_MARK_REPEATED = """() => {
    const seen = new Set();
    for (const each of document.querySelectorAll("[data-hop], .hex > *, tr, li")) {
        const looks = [each, ...each.querySelectorAll("*")].map(
            (one) => `${one.tagName}.${one.getAttribute("class")}.${JSON.stringify(one.dataset.state)}`);
        const key = `${each.parentElement.closest("[id]")?.id} ${looks.join(" ")}`;
        each.toggleAttribute("data-repeated", seen.has(key));
        seen.add(key);
    }
}"""
_OF_COLOURS = ["color-contrast", "link-in-text-block"]
_COLOURS = {"runOnly": {"type": "rule", "values": _OF_COLOURS}}
_ALL_ELSE = {"rules": {name: {"enabled": False} for name in _OF_COLOURS}}


async def violations(page: Page, *, colours_only: bool = False) -> str:
    """What is wrong, as a report; empty for a page that all can use.

    Colours are judged once for rows of a list or table that are made of the same elements and classes. `colours_only`
    leaves out what does not depend on them.
    """
    await page.evaluate(_MARK_REPEATED)
    first_of_each: Any = {"exclude": [["[data-repeated]"]]}
    found = [await Axe().run(page, first_of_each, {"resultTypes": ["violations"], **_COLOURS})]
    if not colours_only:
        found.append(await Axe().run(page, None, {"resultTypes": ["violations"], **_ALL_ELSE}))
    return "\n".join(each.generate_report() for each in found if each.violations_count)
