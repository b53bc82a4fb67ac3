"""The Policy contract and its kinds."""
