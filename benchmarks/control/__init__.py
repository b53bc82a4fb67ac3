"""Benchmarks of the control loop: chunking modes, jitter, faults."""
