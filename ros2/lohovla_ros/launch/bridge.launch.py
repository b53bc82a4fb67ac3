"""Bridge and policy: ``ros2 launch lohovla_ros bridge.launch.py profile:=/home/me/lab.yaml goal:="stack all"``."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "params_file": (
        PathJoinSubstitution([FindPackageShare("lohovla_ros"), "config", "bridge.yaml"]),
        "more parameters",
    ),
    "namespace": ("", "of the robot: before every topic and service"),
    "robot": ("ur5e", "profile that ships: sim, ur5e, cartesian, trajectory"),
    "profile": ("", "your robot's own profile, a YAML file by its whole path"),
    "goal": ("", "the goal sentence; empty waits for one on lohovla/goal"),
    "checkpoint": ("", "folder of a checkpoint; empty takes the shipped one"),
    "dry_run": ("false", "make commands, send none"),
    "use_sim_time": ("false", "take /clock for the time"),
}


def generate_launch_description():
    """The node with all of its arguments."""
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    words = {name: ParameterValue(given[name], value_type=str) for name in ("robot", "profile", "goal", "checkpoint")}
    switches = {name: ParameterValue(given[name], value_type=bool) for name in ("dry_run", "use_sim_time")}
    node = Node(
        package="lohovla_ros",
        executable="bridge",
        name="lohovla_bridge",
        namespace=given["namespace"],
        output="screen",
        emulate_tty=True,
        sigterm_timeout="10",  # it brings the arm to rest before it leaves
        parameters=[given["params_file"], {**words, **switches}],
    )
    declared = [
        DeclareLaunchArgument(name, default_value=value, description=words)
        for name, (value, words) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, node])
