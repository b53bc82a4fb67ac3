"""Benchmarks of text by discrete diffusion: decoding, distillation, the engine."""
