"""Worlds of others behind one contract: tasks, observations and actions by name, episodes in slots."""
