"""The sales report against the orders that were paid."""
