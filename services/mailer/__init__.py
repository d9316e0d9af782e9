"""mailer: mails to customers about their orders."""
