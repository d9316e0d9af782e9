"""The comparison: shapes and equality, never speed."""
