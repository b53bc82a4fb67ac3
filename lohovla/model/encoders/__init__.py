"""Encoders: observations and sub-goal pictures to tokens of the backbone."""
