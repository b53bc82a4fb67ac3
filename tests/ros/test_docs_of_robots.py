"""docs/robots.md and the UR5e's profile say what UR's driver and MoveIt Servo do."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lohovla.ros.robot.robot_profile import Profile
from lohovla.settings.hydra_config import compose

PAGE = Path(__file__).parents[2] / "docs" / "robots.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


def test_the_commands_lead_to_a_moving_arm():
    commands = "\n".join(blocks("bash")).replace("\\\n", " ")
    # UR's ur_servo.yaml: command_out_topic /forward_position_controller/commands.
    assert re.search(
        r"switch_controllers --deactivate scaled_joint_trajectory_controller +--activate forward_position_controller",
        commands,
    )
    assert "forward_velocity_controller" not in commands
    assert 'switch_command_type moveit_msgs/srv/ServoCommandType "{command_type: 1}"' in commands
    assert "launch_servo:=true" in commands  # off by default since Jazzy
    assert "ur_calibration calibration_correction.launch.py" in commands
    assert "kinematics_params_file:=" in commands
    assert "start_servo" not in commands  # of Humble only
    assert "humble" not in commands


@pytest.mark.parametrize("word", ["External Control", "headless_mode", "active TCP", "incoming_command_timeout"])
def test_the_page_names(word):
    assert word in PAGE.read_text(encoding="utf-8")


def test_the_profile_fits_the_drivers():
    profile = Profile.from_config(OmegaConf.to_container(compose("ros", ["robot=ur5e"]).robot))
    assert (profile.ros_version, profile.frame) == (2, "base")  # of tcp_pose_broadcaster, in ur_controllers.yaml
    assert profile.command["topic"] == "/servo_node/delta_twist_cmds"
    assert profile.tool["topic"] == "/tcp_pose_broadcaster/pose"
    # Counted once: the pendant's TCP is zero, so the offset holds the whole length.
    assert profile.tool["offset"]["position"] == [0.0, 0.0, profile.tool["length"]]
    # realsense2_camera 4: /<camera_namespace>/<camera_name>, both "camera".
    assert profile.cameras["front"].image.startswith("/camera/camera/color/")
    assert profile.gripper["topic"] == "/robotiq_gripper_controller/gripper_cmd"
