"""What a server says of itself, where its protocol wants that: the GraphQL schema and the SOAP service."""
