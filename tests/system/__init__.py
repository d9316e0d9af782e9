"""Tests that start real operating system processes."""
