"""The ROS bridge: a policy drives a robot over rosbridge, rclpy or rospy, and stops it when anything is lost."""
