"""The broker port over one SQLite file, shared by the processes of one machine.

`adapter.py` keeps the port's promises; `store.py` holds the SQL, `nonblocking.py` does what waits for
nothing, `writer.py` groups the rest into one commit, `peers.py` is how processes wake one another and notice that one
has died.
"""
