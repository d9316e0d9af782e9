"""`shop doctor`: what this machine must have for a shop, checked before it is missed."""
