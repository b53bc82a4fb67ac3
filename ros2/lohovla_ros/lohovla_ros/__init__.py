"""LoHoVLA's bridge and guard as ROS 2 nodes."""
