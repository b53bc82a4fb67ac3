"""Evaluation through ROS: episodes of the simulated robot, kept as those of `lohovla evaluate` are."""

import json
import subprocess
import sys
import threading

import pytest
from omegaconf import OmegaConf

from lohovla.cli import main
from lohovla.commands.ros import judged_by_policy
from lohovla.envs.tasks.names import VERSION
from lohovla.errors import UserError
from lohovla.evaluate.episode_log import read_rows
from lohovla.evaluate.ros_episodes import RosEvaluation, SimulatedEpisodes
from lohovla.ros.sim.simulated_ros_robot import SimulatedRosRobot
from lohovla.ros.transport.in_process_ros import InProcessRos, LocalTransport
from lohovla.settings.hydra_config import compose

TASK = "put-block-into-matching-bowl"


@pytest.fixture
def robot(blind):
    """The simulated robot on a graph, to be ticked by hand."""
    graph = InProcessRos()
    return SimulatedRosRobot(blind(control="ee", control_hz=100), LocalTransport(graph), 10001), graph


def begin(robot, task=TASK, seed=10003):
    one, graph = robot
    episodes, stop = SimulatedEpisodes(LocalTransport(graph), task), threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,), daemon=True)
    thread.start()
    try:
        return episodes, episodes.begin(seed, lambda: False)
    finally:
        stop.set()
        thread.join()


def test_the_table_is_set_and_time_waits_for_the_first_command(robot):
    one, graph = robot
    episodes, goal = begin(robot)
    assert goal == one.env.problem.instruction
    for _ in range(5):
        one.tick()
    assert one.env.simulation.time == 0.0
    node = LocalTransport(graph)
    node.advertise("/sim/tool_twist", "geometry_msgs/TwistStamped")
    node.publish("/sim/tool_twist", {})
    for _ in range(5):
        one.tick()
    assert one.env.simulation.time == pytest.approx(0.05)
    one._publish_result()
    found = episodes.result("stopped", [(0.5, "Pick it up.")])
    assert (found.task, found.seed, found.success, found.steps, found.reason) == (TASK, 10003, False, 5, "stopped")
    assert found.subtasks[0].text == "Pick it up."
    assert found.simulated_seconds == pytest.approx(0.05)


def test_after_a_success_the_world_goes_on_for_who_is_to_see_it(robot, monkeypatch):
    one, graph = robot
    begin(robot)
    judged, watched = (SimulatedEpisodes(LocalTransport(graph), TASK, judges) for judges in (True, False))
    for episodes in (judged, watched):
        episodes._seed = 10003
    advance, ended = one.env.advance, iter([False, True])
    stands = [True]

    def play(action):
        reward, _, _, info = advance(action)
        over = next(ended, False)
        return reward, over, False, {**info, "success": stands[0], "reason": "success" if over else ""}

    monkeypatch.setattr(one.env, "advance", play)
    node = LocalTransport(graph)
    node.advertise("/sim/tool_twist", "geometry_msgs/TwistStamped")
    node.publish("/sim/tool_twist", {})
    for _ in range(5):
        one.tick()
    one._publish_result()
    assert one.env.simulation.time == pytest.approx(0.05)  # not frozen: a bridge must see the arm follow
    for episodes in (judged, watched):
        assert (episodes.ended, episodes.success) == ("success", True)
        assert episodes.result("all is done", []).steps == 2
    stands[0] = False  # somebody goes on and knocks it over
    one.tick()
    one._publish_result()
    assert judged.success
    assert not watched.success
    assert judged.result("stopped", []).reason == "success"
    assert watched.result("the policy says that all is done", []).reason == "the policy says that all is done"


@pytest.mark.parametrize(
    ("last", "success"), [({"time": 10.6, "ended": True, "success": True}, True), ({"time": 11.5}, False)]
)
def test_a_goal_that_stands_for_too_short_a_time_when_the_policy_is_done_is_waited_for(last, success):
    graph = InProcessRos()
    episodes, simulator = SimulatedEpisodes(LocalTransport(graph), TASK, judges=False), LocalTransport(graph)
    simulator.advertise("/sim/result", "std_msgs/String")
    episodes._seed = 10003
    said = {"seed": 10003, "time": 10.3, "ended": False, "success": False, "score": 1.0, "reason": "success"}
    simulator.publish("/sim/result", {"data": json.dumps(said)})
    later = threading.Timer(0.2, simulator.publish, ("/sim/result", {"data": json.dumps({**said, **last})}))
    later.start()
    episodes.settle()
    assert episodes._result["time"] == last["time"]
    assert episodes.success is success


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        (["policy=lohovla"], True),
        (["policy=chunked-oracle"], False),
        (["policy=lohovla", "judge=simulator"], False),
        (["policy=lohovla", "judge=simulator", "robot=cartesian"], True),
    ],
)
def test_who_says_that_a_run_is_over(words, policy):
    assert judged_by_policy(compose("ros", words)) is policy


def test_another_task_is_refused(robot):
    with pytest.raises(UserError, match="ros-sim plays"):
        begin(robot, "stack-all-blocks-on-a-zone")


def test_what_was_played_is_kept_and_not_played_again(robot, tmp_path):
    episodes, _ = begin(robot)
    first = RosEvaluation(tmp_path, [(TASK, 10001), (TASK, 10003)])
    first.add(episodes.result("time is up", []))
    assert first.close().startswith("0 of 1 solved (0 to 79 %)")
    assert [row["seed"] for row in read_rows(tmp_path)] == [10003]
    assert "time is up" in read_rows(tmp_path)[0]["failure"]
    assert json.loads((tmp_path / "summary.json").read_text())["overall"]["episodes"] == 1
    again = RosEvaluation(tmp_path, [(TASK, 10001), (TASK, 10003)])
    assert again.has(TASK, 10003)
    assert not again.has(TASK, 10001)
    again.close()


def test_a_folder_of_other_settings_is_refused(tmp_path, capsys):
    (tmp_path / "episodes.jsonl").touch()
    settings = {"environment": VERSION, "settings": {"policy": {"name": "chunked-oracle"}, "task": "another"}}
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(settings)))
    words = ["ros", "robot=sim", "policy=chunked-oracle", "enable=always", f"output={tmp_path}"]
    assert main(words) == 2
    assert "was made with robot.name" in capsys.readouterr().err
    settings["environment"] = VERSION - 1
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(settings)))
    assert main(words) == 2
    assert f"was made with version {VERSION - 1} of the environment" in capsys.readouterr().err


def test_one_command_plays_through_rosbridge(tmp_path):
    """A simulated robot of its own, the bridge, a policy: until the time is up, or the goal stands."""
    words = ["robot=sim", "transport=sim", "policy=chunked-oracle", "enable=always", "seconds=10", "home=false"]
    slack = [
        "output=run",
        "robot.max_age={state: 2, camera: 2, observation: 1}",
        "loop.safety.clock_jump_threshold=2",
        "page.port=0",
    ]
    command = [sys.executable, "-m", "lohovla.cli", "ros", *words, *slack]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert answer.returncode == 0, answer.stderr
    row = read_rows(tmp_path / "run")[0]
    assert row["subtasks"]
    assert row["steps"] > 50
    assert (tmp_path / "run" / "commands.png").exists()
    check = [sys.executable, "-m", "lohovla.cli", "data", "check", "run/dataset"]
    assert subprocess.run(check, capture_output=True, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("word", "cause"),
    [
        ("task=Z", "there is no task 'Z'"),
        ("namespace=a b", "namespace cannot be 'a b'"),
        ("policy.checkpoint=odd", "odd is no checkpoint"),
    ],
)
def test_what_is_refused_leaves_nothing(word, cause, tmp_path, monkeypatch, capsys):
    (tmp_path / "odd").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["ros", "transport=sim", "policy=lohovla", "enable=always", word]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert cause in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["odd"]
