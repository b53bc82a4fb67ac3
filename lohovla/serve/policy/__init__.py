"""The policy server on the openpi wire, and its client."""
