"""The tap: what crossed a watched link, frame by frame.

`capture` keeps it while a link is watched, `streams` finds out what a connection speaks, and each protocol has a reader
that separates frames, finds a `traceparent`, and shows heads without secrets. Bodies are counted, not kept.
"""
