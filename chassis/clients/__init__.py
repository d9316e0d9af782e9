"""Clients of the shop's own edge, for the processes that answer by asking it: GraphQL and MCP."""
