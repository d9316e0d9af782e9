"""Whole orders, from accepted to shipped, beside the same hops done bare."""
