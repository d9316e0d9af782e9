"""An order's invoice as a PDF file."""
