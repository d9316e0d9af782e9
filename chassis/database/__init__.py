"""A service's own database, SQLite or PostgreSQL: engine, transactions, locks, migrations."""
