"""Service H, the anti-corruption layer: the legacy ERP in our words. Nothing of SOAP leaves this package."""
