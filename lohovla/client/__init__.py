"""The client of a policy server on the openpi wire; it loads no server, no policy and no torch."""
