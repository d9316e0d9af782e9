"""OAuth 2.1 for agents: a user signs in with a browser and lets a program act for them at /mcp, and nowhere else."""
