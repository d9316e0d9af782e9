"""Files: pictures, invoices, uploads; each content is kept once, under its own digest."""
