"""Tables, pictures and the document's blocks, all drawn from a run's files."""
