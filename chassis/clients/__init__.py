"""Clients of the shop's own edge, for the processes that answer by calling it: GraphQL and MCP."""
