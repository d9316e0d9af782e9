"""Capture of messages: their bytes, as events of the span of the call that they belong to. For development only."""
