"""The broker port over RabbitMQ 3.10 to 4.x, by AMQP 0-9-1.

`adapter.py` keeps the port's promises; `topology.py` declares what they need, `connection.py` holds the connection
and publishes, `queues.py` consumes, `event_log.py` reads the log, `dead_letters.py` handles the dead letters, and
`captured.py` has messages as the frames that carry them.
"""
