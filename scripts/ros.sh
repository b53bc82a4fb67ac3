#!/bin/sh
# ROS 1 from Debian or Ubuntu: rospy, roscore and the messages that the bridge speaks. Nothing else of the project needs it.
packages="ros-core python3-rospy"
for kind in std sensor geometry trajectory diagnostic actionlib rosgraph; do
    packages="$packages ros-$kind-msgs python3-$kind-msgs"
done
# rosmsg and the look-up of types want the definitions beside the Python.
packages="$packages python3-std-srvs ros-std-srvs libstd-msgs-dev libsensor-msgs-dev libgeometry-msgs-dev"
packages="$packages libtrajectory-msgs-dev libstd-srvs-dev python3-numpy"

command -v roscore >/dev/null 2>&1 && /usr/bin/python3 -c 'import rospy, diagnostic_msgs, actionlib_msgs' 2>/dev/null && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "no ROS here, and no apt-get to install it with: tests that need one are skipped"
    exit 2
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "no ROS here: sudo apt-get install -y --no-install-recommends $packages"
    exit 2
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$sudo apt-get install -y -q --no-install-recommends $packages && exit 0
# shellcheck disable=SC2086
$sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends $packages
