"""Recording demonstrations in the simulator, and playing them again."""
