"""Schemas of the servers whose protocol has one: GraphQL and SOAP."""
