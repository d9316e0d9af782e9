"""The microservice chassis: what every process needs and none of the shop's business words."""
