#!/bin/bash
# ROS and this workspace first, then what was asked for.
set -e
source /opt/ros/jazzy/setup.bash
source /opt/ws/install/setup.bash
exec "$@"
