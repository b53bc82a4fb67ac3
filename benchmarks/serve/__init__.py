"""Benchmarks of the policy server and the text server under load."""
