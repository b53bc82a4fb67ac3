"""Benchmarks of the ROS bridge, and how far an arm goes when something breaks."""
