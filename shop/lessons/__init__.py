"""Lessons: a deliberately broken copy of the shop in a git worktree, and a check that judges its repair."""
