"""Settings of commands: their types and ranges, and how Hydra composes them."""
