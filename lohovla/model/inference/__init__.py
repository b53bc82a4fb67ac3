"""One decision, step by step: sub-task decoding, pick-and-place prediction, sub-goal generation, action sampling."""
