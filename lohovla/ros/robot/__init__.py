"""The robot: profile, state, arm and gripper commands."""
