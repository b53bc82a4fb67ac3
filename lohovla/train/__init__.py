"""Training of the hybrid core, stage by stage."""
