"""Running policies on tasks and showing what happened."""
