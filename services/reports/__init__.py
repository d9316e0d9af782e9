"""reports: sales per day, product and customer, made from the event log alone."""
