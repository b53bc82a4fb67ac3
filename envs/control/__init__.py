"""From commands to joint motion: kinematics, the servo loop, suction and jaw, the pick-and-place primitive."""
