"""Runs the ERP: `python -m legacy_soap`."""

from __future__ import annotations

from legacy_soap.bootstrap import main

if __name__ == "__main__":
    main()
