"""The language head: tokenizer, constrained decoding, and the decoding of sub-tasks."""
