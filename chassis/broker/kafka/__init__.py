"""The event log port over a Kafka topic, and over whatever else speaks Kafka's protocol.

`adapter.py` keeps the port's promises; `address.py` is what a URL holds, `topic.py` the topic and how many partitions
it has, `writer.py` the idempotent producer, `reader.py` a consumer that keeps its own position, `records.py` an event
as a record and back, `traced.py` the spans of appended events, `failures.py` Kafka's errors as the port's, and
`closing.py` closes the library's clients.
"""
