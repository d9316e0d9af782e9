"""The faults: ways to break something in a running shop, each of which undoes itself.

`grammar` makes them from words, the same on the command line and in a scenario; `ground` is the shop that they work
on. A fault begins, counts what it meets, and ends with a sentence on what is undone.
"""
