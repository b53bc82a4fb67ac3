"""Demonstrations on disk: write, read, check, in the LeRobotDataset v3 layout."""
