#!/bin/sh
# ROS 1 from Debian or Ubuntu: rospy, roscore and the messages that the bridge speaks. Nothing else of the project needs it.
packages="ros-core python3-rospy"
for kind in std sensor geometry trajectory diagnostic actionlib rosgraph visualization tf2; do
    packages="$packages ros-$kind-msgs python3-$kind-msgs"
done
# rosmsg and the look-up of types want the definitions beside the Python.
packages="$packages python3-std-srvs ros-std-srvs libstd-msgs-dev libsensor-msgs-dev libgeometry-msgs-dev"
packages="$packages libtrajectory-msgs-dev libvisualization-msgs-dev libtf2-msgs-dev libstd-srvs-dev python3-numpy"

command -v roscore >/dev/null 2>&1 && /usr/bin/python3 -c 'import rospy, diagnostic_msgs, actionlib_msgs, visualization_msgs, tf2_msgs' 2>/dev/null && exit 0

# shellcheck disable=SC2086
exec sh "$(dirname "$0")/apt.sh" "no ROS here" $packages
