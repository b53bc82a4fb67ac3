"""The contract of a world, here and over a pipe; what goes wrong there is one line here."""

import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lohovla.envs.worlds.world import World
from lohovla.envs.worlds.world_server.pipe import read_message, write_message
from lohovla.errors import SetupError, UserError

TOWARDS = np.array([[0.5, 0.0]], np.float32)


def towards(observation):
    """The best action of the tiny world."""
    return np.clip(10 * (observation["state"][2:] - observation["state"][:2]), -0.9, 0.9).astype(np.float32)


def test_message_comes_as_it_was_sent():
    pipe = io.BytesIO()
    sent = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "none": np.zeros((0, 4), np.uint8)}
    write_message(pipe, {"call": "step", "text": "größer"}, sent)
    pipe.seek(0)
    header, arrays = read_message(pipe)
    assert header == {"call": "step", "text": "größer"}
    assert all((arrays[name] == sent[name]).all() and arrays[name].dtype == sent[name].dtype for name in sent)
    with pytest.raises(EOFError):
        read_message(pipe)


def test_world_says_what_it_is(tiny_world):
    assert [(c.name, c.height, c.width) for c in tiny_world.features.cameras] == [("top", 16, 24)]
    assert tiny_world.features.state_names == ("state_0", "state_1", "state_2", "state_3")
    assert tiny_world.features.action_names == ("dx", "dy")
    assert (tiny_world.control, tiny_world.control_hz, tiny_world.max_steps) == ("action", 10.0, 40)
    assert tiny_world.has_expert
    assert tiny_world.action_space.low.tolist() == [-1, -1]
    assert tiny_world.action_space.high.tolist() == [1, 1]
    assert tiny_world.tasks_of(None) == ("point", "again")


def test_episode_is_played_to_success(tiny_world):
    episode = tiny_world.episode()
    seen = episode.reset("point", 4)
    assert seen["images.top"].shape == (16, 24, 3)
    assert seen["images.top"].dtype == np.uint8
    assert seen["state"].dtype == np.float32
    assert seen["instruction"] == "Move the point to the mark"
    success = over = False
    while not (success or over):
        seen, reward, success, over = episode.step(towards(seen))
        assert reward <= 0
    assert success
    assert episode.steps < 40


def test_expert_stays_within_the_limits(tiny_world):
    episode = tiny_world.episode()
    episode.reset("point", 4)
    assert np.abs(episode.expert()).max() == 1.0


def test_world_without_expert_says_so(tiny_world_settings):
    world = World({**tiny_world_settings, "expert": None})
    assert not world.has_expert
    episode = world.episode()
    episode.reset("point", 2)
    with pytest.raises(UserError, match="this world has no expert"):
        episode.expert()


def test_same_seed_is_the_same_episode_to_the_byte(tiny_world):
    def played(slot, seed):
        episode = tiny_world.episode(slot)
        seen = [episode.reset("point", seed)]
        seen += [episode.step(TOWARDS[0])[0] for _ in range(5)]
        return b"".join(one["images.top"].tobytes() + one["state"].tobytes() for one in seen)

    assert played(0, 6) == played(3, 6) == played(0, 6)
    assert played(0, 6) != played(0, 8)


def test_slots_do_not_know_of_each_other(tiny_world):
    first, second = tiny_world.episode(0), tiny_world.episode(1)
    one, other = first.reset("point", 2), second.reset("again", 4)
    second.step(TOWARDS[0])
    moved = first.step(TOWARDS[0])[0]
    assert np.allclose(moved["state"], np.clip(one["state"] + [0.05, 0, 0, 0], -1, 1))
    assert other["instruction"] == "Do it again"


def test_chunk_is_looked_at_once_and_stops_at_the_limit(tiny_world):
    episode = tiny_world.episode()
    episode.reset("point", 2)
    outcome = episode.advance(np.repeat(TOWARDS, 50, 0), until_success=False, look=False)
    assert outcome.observation is None
    assert len(outcome.rewards) == episode.steps == 40
    assert outcome.over


def test_chunk_stops_at_success(tiny_world):
    episode = tiny_world.episode()
    seen = episode.reset("point", 4)
    path = []
    while True:
        path.append(towards(seen))
        seen, _, success, _ = episode.step(path[-1])
        if success:
            break
    episode.reset("point", 4)
    outcome = episode.advance(np.concatenate([np.stack(path), np.repeat(TOWARDS, 9, 0)]))
    assert outcome.success
    assert len(outcome.rewards) == len(path)


def test_pictures_may_be_blank_and_words_others(tiny_world):
    tiny_world.settings["blank"] = True
    seen = tiny_world.episode().reset("point", 2, "Something else")
    assert not seen["images.top"].any()
    assert seen["state"].any()
    assert seen["instruction"] == "Something else"


def test_unknown_task_names_the_nearest(tiny_world):
    with pytest.raises(UserError, match="tiny has no task 'pont'\ndid you mean point"):
        tiny_world.tasks_of(["pont"])


def test_actions_that_are_none_are_refused(tiny_world):
    episode = tiny_world.episode()
    episode.reset("point", 2)
    for wrong in (np.zeros((1, 3)), np.zeros((0, 2)), np.full((1, 2), np.nan)):
        with pytest.raises(ValueError, match="finite numbers of shape"):
            episode.advance(wrong)


@pytest.fixture
def remote(tiny_world_settings):
    """The tiny world in a process that prints, with its number."""
    world = World({**tiny_world_settings, "python": sys.executable, "kwargs": {"loud": True}})
    yield world, world._calls._process
    world.close()


def test_exception_there_is_one_line_here(remote):
    world, _ = remote
    episode = world.episode()
    episode.reset("point", 2)
    with pytest.raises(UserError) as raised:
        episode.step(np.ones(2, np.float32))
    assert raised.value.cause == "the world gymnasium: RuntimeError: the motor burned"
    assert episode.step(TOWARDS[0])[0]["state"].any()  # and it goes on


def test_process_that_dies_is_one_line_here(remote):
    world, process = remote
    episode = world.episode()
    episode.reset("point", 2)
    with pytest.raises(UserError, match="the process of the world gymnasium ended with exit code 3: the environment"):
        episode.step(-np.ones(2, np.float32))
    assert process.poll() == 3


def test_process_that_is_killed_is_one_line_here(remote):
    world, process = remote
    world.episode().reset("point", 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(UserError, match="ended with signal 9"):
        world.episode().step(TOWARDS[0])


def test_process_ends_with_its_parent(tiny_world_settings):
    script = (
        "import os, sys; from lohovla.envs.worlds.world import World; "
        f"world = World({ {**tiny_world_settings, 'python': sys.executable}!r}); "
        "print(world._calls._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    pid = int(said.stdout)
    deadline = time.monotonic() + 60
    while _runs(pid):
        assert time.monotonic() < deadline, "it outlived its parent"
        time.sleep(0.05)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_python_that_is_not_there_is_said(tiny_world_settings):
    with pytest.raises(SetupError, match=r"cannot run world\.python=/nowhere/python: No such file"):
        World({**tiny_world_settings, "python": "/nowhere/python"})


def test_package_that_is_missing_is_said_with_how_to_install_it(tiny_world_settings):
    with pytest.raises(SetupError, match="has no no_such_module"):
        World({**tiny_world_settings, "python": sys.executable, "module": "no_such_module"})


@pytest.mark.parametrize("python", [None, sys.executable])
def test_the_mapping_says_how_its_package_is_installed(tiny_world_settings, python):
    settings = {**tiny_world_settings, "module": "no_such_module", "install": "pip install it", "python": python}
    with pytest.raises(SetupError) as raised:
        World(settings)
    assert raised.value.remedy == "pip install it"


@pytest.mark.parametrize("python", [None, sys.executable])
def test_each_task_may_have_an_environment_of_its_own(tiny_world_settings, python):
    tasks = {"Mark": "Move the point to the mark", "Nothing": "There is no such environment"}
    world = World({**tiny_world_settings, "env": "PointOn{task}-v0", "tasks": tasks, "python": python})
    assert world.episode().reset("Mark", 4)["instruction"] == tasks["Mark"]
    with pytest.raises(UserError, match="PointOnNothing"):
        world.episode(1).reset("Nothing", 4)
    world.close()


def test_observations_are_of_the_space(tiny_world):
    seen = tiny_world.episode().reset("point", 4)
    assert tiny_world.observation_space.contains(seen)
    assert tiny_world.describe()["action_names"] == ["dx", "dy"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cameras": {"top": "pixels"}}, "the observation has no 'pixels'; it has views, agent"),
        ({"cameras": {"top": "agent"}}, "no picture"),
        ({"state": "joints"}, "the observation has no 'joints'"),
    ],
)
def test_mapping_that_does_not_fit_is_said(tiny_world_settings, change, said):
    with pytest.raises(UserError, match=said):
        World({**tiny_world_settings, **change, "python": sys.executable})
    with pytest.raises(UserError, match=said):
        World({**tiny_world_settings, **change})


def test_sign_of_success_that_is_not_there_is_said(tiny_world_settings):
    world = World({**tiny_world_settings, "success": "solved"})
    episode = world.episode()
    episode.reset("point", 2)
    with pytest.raises(UserError, match="info has no 'solved', the sign of success; it has is_success"):
        episode.step(TOWARDS[0])
