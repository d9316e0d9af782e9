"""graphql_server: one query instead of many requests, resolved through the gateway's REST API as the caller."""
