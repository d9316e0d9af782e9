"""payment_provider: a stand-in for Stripe. Collects money after a while and says so by a signed webhook."""
