"""The link proxy: one process through which every connection between the shop's processes runs.

`toxics` is what can be done to a link, `connection` does it to bytes, `proxy` to connections, `control` takes others'
requests for it; `plan` has the links that there are, from docs/architecture.toml.
"""
