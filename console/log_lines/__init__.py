"""Log lines that processes send by OTLP, by trace: bounded, and in causal order."""
