"""Discrete diffusion forcing: block-causal diffusion over text, its distillation, and decoding with an exact cache."""
