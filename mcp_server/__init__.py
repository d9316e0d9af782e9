"""MCP for AI agents: the shop as tools, resources and a prompt, resolved through the gateway's REST API."""
