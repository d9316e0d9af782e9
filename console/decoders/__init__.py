"""Decoding of captured messages: their parts, and the meaning of each. Pure."""
