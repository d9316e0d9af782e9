"""The link proxy: one process through which every connection between the shop's processes runs.

`toxics` says what can be done to a link, `connection` does it to bytes, `proxy` to connections, `control` takes others'
requests for it; `plan` says which links there are, from docs/architecture.toml.
"""
