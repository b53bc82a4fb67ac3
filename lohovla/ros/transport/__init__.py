"""Connections to ROS: rosbridge, rclpy, rospy, and one within the process."""
