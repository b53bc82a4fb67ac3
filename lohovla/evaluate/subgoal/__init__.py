"""Evaluation of sub-goal pictures."""
