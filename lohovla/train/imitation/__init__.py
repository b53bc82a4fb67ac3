"""Training from demonstrations of any robot: LeRobot data sets, no simulator, no privileged labels."""
