"""The tasks: each a small file with its goal sentence, its initial states and its goal."""
