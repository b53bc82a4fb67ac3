"""Benchmarks on CUDA, and predictions from counts of bytes and operations."""
