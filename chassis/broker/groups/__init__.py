"""Consumer groups of the event log: partitions shared among copies, offsets in the transaction of their effect."""
