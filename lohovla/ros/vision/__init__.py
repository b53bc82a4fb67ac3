"""Cameras: decoding, calibration, the policy's top view."""
