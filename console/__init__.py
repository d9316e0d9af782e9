"""console: receives every process's spans (OTLP), keeps the last traces in memory and shows them."""
