"""The scene as a MuJoCo specification: arm, end effectors, table, objects, cameras."""
