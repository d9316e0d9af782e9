"""payment_provider: a stand-in for Stripe. Collects money after a while and notifies by a signed webhook."""
