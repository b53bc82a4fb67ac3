"""The sub-goal head: a picture of the sub-task's end from continuous image tokens."""
