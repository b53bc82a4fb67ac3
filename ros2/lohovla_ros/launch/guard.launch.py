"""The guard on the robot's PC: ``ros2 launch lohovla_ros guard.launch.py profile:=/home/me/lab.yaml``."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "params_file": (PathJoinSubstitution([FindPackageShare("lohovla_ros"), "config", "guard.yaml"]), "more parameters"),
    "namespace": ("", "of the robot: before every topic and service"),
    "robot": ("ur5e", "profile that ships: sim, ur5e, cartesian, trajectory"),
    "profile": ("", "your robot's own profile, a YAML file by its whole path"),
}


def generate_launch_description():
    """A node that ends the launch when it ends: an arm without its guard must not go on unnoticed."""
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    words = {name: ParameterValue(given[name], value_type=str) for name in ("robot", "profile")}
    node = Node(
        package="lohovla_ros",
        executable="guard",
        name="lohovla_guard",
        namespace=given["namespace"],
        output="screen",
        emulate_tty=True,
        sigterm_timeout="10",  # it brings the arm to rest before it leaves
        parameters=[given["params_file"], words],
    )
    declared = [
        DeclareLaunchArgument(name, default_value=value, description=words)
        for name, (value, words) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, node])
