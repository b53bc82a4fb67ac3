"""Inference backends: eager, fused, compiled, and CUDA graphs."""
