"""Profiles: those that ship are sound, mistakes are named."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from lohovla.cli import main
from lohovla.control.settings import LoopSettings
from lohovla.envs.scene.arm import HOME
from lohovla.errors import UserError
from lohovla.ros.guard.guard_profile import guard_settings
from lohovla.ros.robot.pose_conversion import BadPose, inverse_offset, pose_at_offset, pose_message, pose_of
from lohovla.ros.robot.profile_file import profile_of
from lohovla.ros.robot.robot_profile import Profile
from lohovla.ros.robot.ur5e_tool_pose import joints_of_tool, tool_of_joints
from lohovla.settings.hydra_config import compose


def settings(robot="sim"):
    return OmegaConf.to_container(compose("ros", [f"robot={robot}"]).robot)


@pytest.mark.parametrize("robot", ["sim", "sim-fused", "ur5e", "cartesian", "trajectory", "forward"])
def test_shipped_profiles_are_sound(robot):
    assert Profile.from_config(settings(robot)).name == robot


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"command": {"kind": "wish"}}, "command.kind"),
        ({"home": [0.0]}, "home"),
        ({"top_view_cameras": ["nose"]}, "nose"),
        ({"top_every": 2}, "robot.top_every is called robot.top_view_stride now"),
        ({"start": {"ramp": 2}}, "robot.start.ramp is called robot.start.ramp_time now"),
        ({"command_hz": 5}, "command_hz"),
        ({"ros_version": 3}, "ros_version"),
        ({"colour": 1}, "colour"),
        ({"max_age": {"state": 0.0}}, "max_age.state"),
        ({"start": {"pace": 1.0}}, "pace"),
        ({"guard": {"joint_limits": {"speed": 1.0}}}, "speed"),
        ({"loop": {"limits": {"low": [0.5, 0.5, 0.5]}}}, "outside the workspace"),
        ({"loop": {"limits": {"low": [0.5, 0.5]}}}, "robot.loop.limits"),
        ({"command": {"kind": "pose", "topic": "/t", "timeout": 0.1}}, "ttl 0.2 s is longer than the controller waits"),
        ({"command": {"kind": "pose", "topic": "/t", "timeout": -1}}, "command.timeout"),
        ({"command": {"kind": "trajectory", "topic": "/t", "end": "soon"}}, "command.end"),
        ({"tool": {"topic": "/t", "lenght": 0.2}}, "robot.tool has no setting 'lenght'"),
        ({"joints": {"topic": "/t", "names": [], "order": 1}}, "robot.joints has no setting 'order'"),
        ({"command": {"kind": "pose", "topic": "/t", "time_out": 0.1}}, "robot.command has no setting 'time_out'"),
        ({"gripper": {"kind": "bool", "topic": "/t", "force": 1}}, "robot.gripper has no setting 'force'"),
        ({"gripper_state": {"kind": "bool", "topic": "/t", "hz": 1}}, "robot.gripper_state has no setting 'hz'"),
        ({"cameras": {"top": {}}}, "robot.cameras.top has no image"),
        ({"cameras": {"top": {"image": "/t", "intrinsics": {"focal": [1, 1]}}}}, "intrinsics has no size"),
        ({"cameras": {"top": {"image": "/t", "intrinsics": {"k": [1]}}}}, "intrinsics has no setting 'k'"),
        ({"top_view_cameras": []}, "top_view_cameras is empty"),
    ],
)
def test_mistakes_are_named(change, cause):
    with pytest.raises(UserError) as error:
        Profile.from_config({**settings(), **change})
    assert cause in error.value.cause


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"high": None, "jerk": None}, "lacks jerk, high"),
        ({"velocity": 0.0}, "cannot be"),
        ({"low": 7.0}, "low is not below"),
    ],
)
def test_trajectories_need_all_limits_of_the_joints(change, cause):
    known = settings("trajectory")
    limits = {**known["guard"]["joint_limits"], **change}
    known["guard"]["joint_limits"] = {key: value for key, value in limits.items() if value is not None}
    with pytest.raises(UserError) as error:
        Profile.from_config(known)
    assert cause in error.value.cause
    assert "\n" not in error.value.cause
    known["command"]["kind"] = "pose"  # which needs none
    if cause == "lacks jerk, high":
        assert Profile.from_config(known)


def test_servo_s_time_out_bounds_how_long_a_command_counts():
    known = settings("ur5e")
    assert known["guard"]["ttl"] <= known["command"]["timeout"] == 0.1
    known["guard"]["ttl"] = 0.2
    with pytest.raises(UserError) as error:
        Profile.from_config(known)
    assert "\n" not in error.value.cause + error.value.remedy
    known["command"]["timeout"] = 0.0  # one that never halts the arm
    profile = Profile.from_config(known)
    limits = LoopSettings.from_config(profile.loop_settings({})).limits
    assert guard_settings(profile, limits, "topic").controller_timeout == 0.0
    profile = Profile.from_config(settings("ur5e"))
    guard = guard_settings(profile, limits, "topic")
    assert (guard.controller_timeout, guard.ttl, guard.hz) == (0.1, 0.1, 100.0)


def test_a_file_of_one_s_own(tmp_path):
    file = tmp_path / "lab.yaml"
    file.write_text(
        "name: lab\ncameras: {front: {position: [1, 0, 0.75], rotation: [0, 0, 1]}}\nstart: {speed: 0.03}\n"
    )
    config = compose("ros", ["robot=ur5e", "robot.start.speed=0.02"])
    profile = profile_of(config.robot, str(file))
    assert (profile.name, profile.cameras["front"].position) == ("lab", [1, 0, 0.75])
    assert profile.cameras["front"].image == "/camera/camera/color/image_raw/compressed"
    assert profile.start.speed == 0.02  # the command line wins
    assert profile_of(compose("ros", ["robot=ur5e"]).robot, str(file)).start.speed == 0.03


@pytest.mark.parametrize(
    ("text", "cause"), [(None, "cannot read"), ("{", "is no YAML"), ("- 1", "holds no settings"), ("speed: 1", "speed")]
)
def test_files_that_are_no_profile(tmp_path, text, cause):
    file = tmp_path / "lab.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError) as error:
        profile_of(compose("ros", []).robot, str(file))
    assert cause in error.value.cause
    assert "\n" not in error.value.cause


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("loop: {limits: fast}", "robot.loop.limits cannot be 'fast'"),
        ("loop: {limits: {velocity: fast}}", "robot.loop.limits.velocity cannot be 'fast'"),
        ("loop: {limits: {low: [1, 2]}}", "robot.loop.limits.low cannot be [1, 2]"),
        ("loop: {safety: 3}", "robot.loop.safety cannot be 3"),
        ("loop: {chunking_mode: 3}", "robot.loop.chunking_mode cannot be 3"),
        ("loop: {join: sync}", "robot.loop.join is called robot.loop.chunking_mode now"),
        ("loop: {safety: {hold: 1}}", "robot.loop.safety.hold is called robot.loop.safety.hold_timeout now"),
        ("fresh: {state: 1}", "robot.fresh is called robot.max_age now"),
        ("max_age: {acted: 1}", "robot.max_age.acted is called robot.max_age.observation now"),
        ("command: {ahead: 0.2}", "robot.command.ahead is called robot.command.lookahead now"),
        ("top_from: [front]", "robot.top_from is called robot.top_view_cameras now"),
        ("loop: null", "robot.loop cannot be None"),
        ("cameras: 3", "robot.cameras cannot be 3"),
        ("cameras: {wrist: {image: 3}}", "robot.cameras.wrist.image cannot be 3"),
        ("cameras: {wrist: {image: /a, tf: maybe}}", "robot.cameras.wrist.tf cannot be 'maybe'"),
        ("cameras: {wrist: {image: /a, intrinsics: {size: 3}}}", "robot.cameras.wrist.intrinsics.size cannot be 3"),
        ("cameras: {1: {image: /a}}", "named 1, which is no word"),
        ("1: 2", "named 1, which is no word"),
        ("home: [a, b, c, d, e, f]", "robot.home cannot be 'a'"),
        ("joints: {names: {a: 1}}", "robot.joints.names cannot be {'a': 1}"),
        ("command_hz: fast", "robot.command_hz cannot be 'fast'"),
        ("guard: {joint_limits: {velocity: null}}", "robot.guard.joint_limits.velocity cannot be None"),
    ],
)
def test_a_file_s_values_are_checked_as_those_of_the_command_line(tmp_path, text, cause, capsys):
    file = tmp_path / "lab.yaml"
    file.write_text(text)
    for command in ("ros", "ros-guard"):
        assert main([command, f"profile={file}"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2
        assert cause in lines[0]
        assert str(file) in lines[0]


def test_a_camera_s_calibration_in_a_file(tmp_path):
    file = tmp_path / "lab.yaml"
    known = "size: [640, 480], focal: [600, 600.5], centre: [320, 240], distortion: [], distortion_model: plumb_bob"
    file.write_text(f"cameras: {{wrist: {{image: /a, intrinsics: {{{known}}}}}}}")
    intrinsics = profile_of(compose("ros", []).robot, str(file)).cameras["wrist"].intrinsics
    assert (intrinsics["size"], intrinsics["distortion_model"]) == ([640, 480], "plumb_bob")


def limits_of(command, *words):
    config = compose(command, ["robot=ur5e", *words])
    loop = OmegaConf.to_container(config.loop)
    for key in ("clock", "worker", "delay", "command_hz"):
        loop.pop(key)
    profile = Profile.from_config(OmegaConf.to_container(config.robot))
    return profile, LoopSettings.from_config(profile.loop_settings(loop))


@pytest.mark.parametrize("command", ["ros", "ros-guard"])
def test_the_profile_s_limits_win_over_the_simulator_s(command):
    profile, loop = limits_of(command)
    assert (loop.limits.velocity, loop.limits.jerk, loop.limits.turn_velocity) == (0.25, 60.0, 0.8)
    assert tuple(loop.limits.low) == (0.25, -0.5, 0.0)
    assert tuple(loop.limits.high) == (0.75, 0.5, 0.5)
    assert (loop.safety.stale_after, loop.safety.hold_timeout) == (1.0, 0.5)
    assert guard_settings(profile, loop.limits, "topic").limits["velocity"] == 0.25


@pytest.mark.parametrize(
    ("word", "velocity"),
    [
        ("loop.limits.velocity=0.1", 0.1),
        ("loop.limits.velocity=0.9", 0.25),
        ("robot.loop.limits.velocity=0.4", 0.4),
        ("loop=careful", 0.25),
    ],
)
def test_a_person_s_limit_counts_where_it_is_stricter(word, velocity):
    assert limits_of("ros", word)[1].limits.velocity == velocity
    _, loop = limits_of("ros", "loop.limits.low=[0.3,-0.6,0.0]", "loop.safety.max_step=0.01", "loop.n_action_steps=4")
    assert tuple(loop.limits.low) == (0.3, -0.5, 0.0)
    assert (loop.safety.max_step, loop.n_action_steps) == (0.01, 4)


def test_poses_survive_messages_and_frames():
    pose = np.array([0.4, -0.1, 0.2, 0.3, -0.5, 1.2])
    np.testing.assert_allclose(pose_of(pose_message(pose)), pose, atol=1e-12)
    offset = Profile.from_config(settings("ur5e")).tool_offset
    np.testing.assert_allclose(pose_at_offset(pose_at_offset(pose, offset), inverse_offset(offset)), pose, atol=1e-9)


def test_kinematics_there_and_back():
    tool = tool_of_joints(HOME, 0.13)
    np.testing.assert_allclose(tool[3:], 0.0, atol=1e-6)  # straight down, no yaw
    joints, reachable = joints_of_tool(tool, 0.13, HOME)
    assert reachable
    np.testing.assert_allclose(joints, HOME, atol=1e-6)


def test_quaternions_must_have_length_one():
    message = pose_message(np.zeros(6))
    message["orientation"]["w"] = 0.5
    with pytest.raises(BadPose):
        pose_of(message)
