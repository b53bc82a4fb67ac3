"""One run on a robot: interlock, homing, the policy, the end."""
