"""The broker port over RabbitMQ 3.10 to 4.x, by AMQP 0-9-1.

`adapter.py` keeps the port's promises; `topology.py` declares what they need, `link.py` holds the connection and
publishes, `queues.py` consumes, `stream.py` reads the log, `graveyard.py` tends the dead letters.
"""
