"""The routes: each parses, calls one upstream, renders."""
