"""Inference beside the loop: requests, workers, and what the model is told."""
