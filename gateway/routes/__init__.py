"""The routes: each parses, asks one upstream, renders."""
