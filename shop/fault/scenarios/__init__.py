"""Scenarios: a seed, a load, a schedule of faults and the promises that have to hold.

`scenario` reads them, `load` is the clients, `runner` breaks things meanwhile, `promises` judges with `shop.audit`, and
`result` is the verdict: kept, broken, or void where the faults met no traffic or a promise had nothing to check.
"""
