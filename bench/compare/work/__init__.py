"""Work that can wait: done in the request, or accepted and done later."""
