"""The action head: flow matching over a chunk of actions."""
