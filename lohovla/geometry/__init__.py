"""Geometry that the simulator and a robot's bridge share: kinematics, rotations, the workspace, the height map."""
