"""The measured comparison of protocols: `shop compare` (docs/comparison.md)."""
