"""orders: accepts orders and sees them through to their end."""
