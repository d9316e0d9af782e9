"""The fault lab: breaks the shop on purpose, and checks whether it kept its promises.

`links` is the proxy through which `shop up --lab` leads every connection, and `tap` reads what crossed it; `faults` are
the ways to break something, each of which undoes itself; `scenarios` run a load, break what they say, and judge.
"""
