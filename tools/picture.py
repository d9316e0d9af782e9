"""`make picture`: docs/xray.png, one order's X-ray as the console shows it, for the README's first screen.

Needs Chromium on the PATH. A shop is started for it, on free ports, and stopped.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from bench.shop import fresh_shop
from shop.started_shop import unwound_by_signals

PICTURE = Path(__file__).parents[1] / "docs" / "xray.png"
_SIZE = {"width": 1500, "height": 860}
_TIMEOUT_MS = 60_000


@unwound_by_signals()
def main() -> int:
    """Exit code 0: the picture is written. 2: there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.stderr.write("make picture needs Chromium: apt-get install chromium\n")
        return 2
    with fresh_shop() as shop, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZE)  # type: ignore[arg-type]
        page.set_default_timeout(_TIMEOUT_MS)
        page.goto(shop.url("console"))
        page.click("#place-order")
        page.wait_for_selector("#order[data-settled]")
        page.focus('[data-hop][data-protocol="SOAP"]')
        page.keyboard.press("Enter")
        page.click('[data-tab="wire"]')
        page.locator("#diagram").evaluate("place => place.scrollTo(180, 0)")
        page.screenshot(path=PICTURE)
        browser.close()
    sys.stdout.write(f"{PICTURE.relative_to(Path.cwd())} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
