"""What a run leaves: words for people, an episode of a data set, a bag, a drawing."""

import json

import numpy as np
import pytest
from PIL import Image

from lohovla.control.safety.command_receiver import Command
from lohovla.data.check_dataset import check_dataset
from lohovla.data.dataset_metadata import read_episode_rows
from lohovla.data.training_set import DatasetChoice, TrainingSet
from lohovla.ros.record import bag
from lohovla.ros.record.bag import Bag, RecordingTransport
from lohovla.ros.record.run_recorder import RunRecorder, save_run
from lohovla.ros.robot.pose_conversion import pose_of
from lohovla.ros.transport.in_process_ros import LocalTransport
from lohovla.ros.transport.message_types import TYPES, blank_message, header
from lohovla.ros.transport.transport import Subscription
from lohovla.ros.ui.command_log import CommandLog, LoggedCommand, draw_path
from lohovla.ros.vision.image_messages import color_of


def test_a_run_is_told_and_recorded(bench, tmp_path, capsys):
    run, heard = bench(), {}
    listener = LocalTransport(run.graph)
    for name, kind in (
        ("/lohovla/subtask", "std_msgs/String"),
        ("/lohovla/progress", "std_msgs/Float64"),
        ("/lohovla/latency", "std_msgs/Float64"),
        ("/lohovla/event", "std_msgs/String"),
        ("/lohovla/subgoal/compressed", "sensor_msgs/CompressedImage"),
        ("/diagnostics", "diagnostic_msgs/DiagnosticArray"),
        ("/lohovla/state", "std_msgs/String"),
    ):
        listener.subscribe(Subscription(name, kind, heard.setdefault(name, []).append))
    recording, trace = RunRecorder(20), CommandLog(say=True)
    run.session.watchers += [recording, trace]
    run.start()
    run.moves()
    run.operator.pause()
    run.until(lambda: any("paused" in m["data"] for m in heard["/lohovla/event"]))
    run.until(lambda: heard["/diagnostics"][-1]["status"][2]["message"] == "paused: by the operator")
    assert heard["/diagnostics"][-1]["status"][2]["level"] == 1
    run.operator.start()
    run.until(lambda: {m["data"] for m in heard["/lohovla/subtask"]} >= {"Go left.", "Go right."})
    run.until(lambda: {"Go left.", "Go right."} <= set(recording.subtasks))
    outcome = run.finish()
    assert heard["/lohovla/progress"][-1]["data"] == 0.5
    assert 0.0 < heard["/lohovla/latency"][-1]["data"] < 5.0
    assert color_of(heard["/lohovla/subgoal/compressed"][0]).shape == (32, 64, 3)
    assert json.loads(heard["/lohovla/state"][-1]["data"])["goal"] == "wander about"
    names = [status["name"] for status in heard["/diagnostics"][-1]["status"]]
    assert names == ["lohovla: robot", "lohovla: policy", "lohovla: safety"]

    about = {"task": "wander about", "task_name": "sim", "seed": 1, "success": False, "reason": outcome.end.cause}
    about |= {"final_score": 0.0}
    assert save_run(recording, tmp_path / "set", run.profile, about) == 0
    assert list(check_dataset(tmp_path / "set")) == []
    data = TrainingSet.open(
        [DatasetChoice(str(tmp_path / "set"))],
        rename={},
        cameras=["top"],
        image_height=160,
        chunk_size=4,
        held_out=0.0,
        seed=0,
        cache=tmp_path / "cache",
        goal_seconds=1.0,
        progress_bar=False,
    )
    assert data.frames == len(recording)
    batch = data.batch(0, 4)
    assert batch["images.top"].shape == batch["goal.top"].shape == (4, 160, 320, 3)
    assert set(batch["subtask"]) <= {"Go left.", "Go right."}
    assert any("depth: depth.top" in line for line in data.lines)
    assert set(read_episode_rows(tmp_path / "set")[0]["plan"]) == {"Go left.", "Go right."}
    # The action of a frame is where the arm was then told to be: the state follows it.
    episode = data.episode(0, held_out=False)
    actions, states = episode["action"][:, :3], episode["state"][:, :3]
    assert np.abs(actions - states).max() < 0.05
    assert np.ptp(actions[:, 1]) > 0.05

    trace.write(tmp_path / "commands.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "commands.jsonl").read_text().splitlines()]
    assert len(rows) == len(trace.moments) > 20
    assert {row["mode"] for row in rows} >= {"run"}
    printed = [line for line in capsys.readouterr().out.splitlines() if "gripper" in line]
    assert len(printed) >= 2
    assert "x +0." in printed[0]


def test_drawing_shows_the_path_where_it_is():
    times = np.linspace(0.0, 5.0, 100)
    path = [np.array([0.5, -0.4 + 0.16 * t, 0.2, 0, 0, 0]) for t in times]  # along y at x = 0.5: the middle row
    moments = [LoggedCommand(t, p, 0.0, "run", "") for t, p in zip(times, path, strict=True)]
    picture = np.asarray(draw_path(moments, np.full((160, 320, 3), 255, np.uint8)).convert("RGB")).astype(int)
    colored = np.ptp(picture[:480], axis=2) > 60
    rows, columns = np.nonzero(colored)
    assert 236 < rows.min() <= rows.max() < 244
    assert columns.min() < 0.12 * 960 < 0.88 * 960 < columns.max()
    assert isinstance(draw_path([], None), Image.Image)


def test_too_short_a_run_is_no_episode(bench, tmp_path):
    run = bench()
    assert save_run(RunRecorder(20), tmp_path / "set", run.profile, {"success": False}) is None
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("ros_version", [1, 2])
def test_a_bag_holds_every_type(tmp_path, ros_version):
    path = tmp_path / ("run.bag" if ros_version == 1 else "bag")
    one = Bag(path, ros_version)
    for name in TYPES:
        one.put(f"/blank/{name}", name, blank_message(name))
    full = {"header": header(5.5, "top"), "height": 2, "width": 3, "encoding": "mono8", "step": 3, "data": b"abcdef"}
    one.put("/picture", "sensor_msgs/Image", full)
    one.close()
    found = {topic: message for topic, _, message in bag.read_bag(path, ros_version)}
    assert found["/picture"] == {**full, "is_bigendian": 0}
    assert all(found[f"/blank/{name}"] == blank_message(name) for name in TYPES)


def test_a_run_goes_into_a_bag(bench, tmp_path):
    one = Bag(tmp_path / "bag", 2)
    run = bench()
    taped = RecordingTransport(LocalTransport(run.graph), one)
    taped.advertise("/lohovla/test", "std_msgs/String")
    poses = []
    taped.subscribe(Subscription("/sim/tool_pose", "geometry_msgs/PoseStamped", poses.append))
    taped.publish("/lohovla/test", {"data": "hello"})
    run.until(lambda: len(poses) > 3)
    taped.close()
    one.close()
    found = bag.read_bag(tmp_path / "bag", 2)
    assert [m["data"] for topic, _, m in found if topic == "/lohovla/test"] == ["hello"]
    kept = [pose_of(m["pose"]) for topic, _, m in found if topic == "/sim/tool_pose"]
    np.testing.assert_allclose(kept[0], pose_of(poses[0]["pose"]))


@pytest.mark.parametrize("kind", ["pose", "twist"])
def test_a_brake_goes_on_without_the_arm_s_state(bench, kind):
    run = bench(dry=True)
    settings = {"kind": kind, "topic": "/sim/tool_target", "gain": 4.0}
    object.__setattr__(run.profile, "command", settings)
    robot = type(run.robot)(run.transport, run.profile, run.session.settings.limits, "", dry=True)
    run.until(lambda: robot.measured() is not None)
    run.arm.state = False
    far = robot.measured() + np.array([0.05, 0, 0, 0, 0, 0])
    robot.allowed = False
    robot.command(Command(1, 0.0, far, np.array([0.01, 0, 0, 0, 0, 0]), np.zeros(6), 0.0, "stop"), 0.0)
    message = robot.last_message[1]
    if kind == "twist":  # it must not run after a pose that it does not know
        assert message["twist"]["linear"]["x"] == pytest.approx(0.01)
    else:
        assert message["pose"]["position"]["x"] == pytest.approx(far[0])
    robot.eyes.close()
