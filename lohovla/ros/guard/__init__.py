"""The guard on the robot's side."""
