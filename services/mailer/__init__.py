"""mailer: tells customers by mail what became of their orders."""
