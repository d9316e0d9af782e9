"""Commands on webhooks: as a partner who sends them, and as the shop that has received them."""
