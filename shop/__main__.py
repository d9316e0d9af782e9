"""`python -m shop`: the same as the `shop` command."""

from __future__ import annotations

from shop.cli import main

if __name__ == "__main__":
    main()
