"""Benchmarks of the simulator, and of an evaluation with it."""
