"""Pictures of the scene: colour and depth from one render, fused height maps, observation noise."""
