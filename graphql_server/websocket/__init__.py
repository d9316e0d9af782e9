"""GraphQL over WebSocket (graphql-transport-ws): one connection, and the handler of its messages."""
