"""The ROS bridge: a policy drives a robot over rosbridge, and stops it when anything is lost."""
