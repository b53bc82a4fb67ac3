"""Benchmarks of collecting and reading data sets."""
