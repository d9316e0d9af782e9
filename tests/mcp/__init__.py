"""The shop for agents, by clients that are not ours."""
