"""Benchmarks of the model: its parts, a whole decision, ablations of the policy."""
