"""The contracts between processes: RPCs and event payloads. `python -m protos` generates their Python code."""
