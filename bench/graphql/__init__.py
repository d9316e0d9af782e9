"""The GraphQL server beside an endpoint of the same schema."""
