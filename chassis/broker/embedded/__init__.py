"""The broker port over one SQLite file, shared by the processes of one machine.

`adapter.py` keeps the port's promises; `store.py` holds the SQL, `writer.py` the thread that groups what waits into
one commit, `sessions.py` how processes wake one another and notice that one has died.
"""
