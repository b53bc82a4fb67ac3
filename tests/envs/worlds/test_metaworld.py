"""MetaWorld itself, where a Python has it."""

import numpy as np
import pytest

from lohovla.envs.worlds.world import World
from lohovla.errors import UserError

SIX = ("reach-v3", "button-press-topdown-v3", "drawer-open-v3", "door-open-v3", "push-v3", "pick-place-v3")


def played(episode, task, seed, steps=25):
    """What was seen in the beginning of an expert's episode."""
    seen = [episode.reset(task, seed)]
    seen += [episode.step(episode.expert())[0] for _ in range(steps)]
    return b"".join(one[name].tobytes() for one in seen for name in ("images.front", "images.wrist", "state"))


def test_metaworld_says_what_it_is(metaworld):
    assert len(metaworld.tasks) == 50
    assert metaworld.groups == ("easy", "medium", "hard", "very_hard")
    sizes = {group: sum(task.group == group for task in metaworld.tasks.values()) for group in metaworld.groups}
    assert sizes == {"easy": 28, "medium": 11, "hard": 6, "very_hard": 5}
    assert len({task.instruction for task in metaworld.tasks.values()}) == 50
    assert metaworld.features.fps == 80
    assert metaworld.tasks_of(["hard", "push-v3"])[:2] == ("assembly-v3", "hand-insert-v3")


def test_same_seed_is_the_same_episode_to_the_byte(metaworld):
    for task in ("push-v3", "door-open-v3"):
        first = played(metaworld.episode(0), task, 4)
        metaworld.episode(1).reset(task, 6)
        played(metaworld.episode(0), task, 8)
        assert played(metaworld.episode(0), task, 4) == first  # after another episode
        assert played(metaworld.episode(2), task, 4) == first  # in another environment
        assert played(metaworld.episode(0), task, 6) != first


@pytest.mark.parametrize("task", SIX)
def test_expert_solves_the_task(metaworld, task):
    episode = metaworld.episode()
    episode.reset(task, 10001)
    outcome = None
    while outcome is None or not (outcome.success or outcome.over):
        action = episode.expert()
        assert (np.abs(action) <= 1).all()
        outcome = episode.advance(action[None], look=False)
    assert outcome.success


def test_pictures_are_upright_and_show_the_goal_from_the_first_on(metaworld):
    seen = metaworld.episode().reset("push-v3", 10001)
    front = seen["images.front"].astype(int)
    assert front[:10].mean() < front[-10:].mean()  # the dark background is above the table
    green = (front[..., 1] - front[..., 0] > 60).sum()
    assert green > 2  # the mark
    assert seen["images.wrist"].std() > 10


def test_arm_that_is_hidden_from_the_wrist_was_not_seen(metaworld_settings):
    # The camera's own picture, by another name of the same camera: what is hidden depends on the name alone.
    camera = metaworld_settings["cameras"]["wrist"]
    world = World({**metaworld_settings, "cameras": {"wrist": camera, "whole": {**camera, "hide": []}}})
    try:
        for task in ("push-v3", "drawer-open-v3"):
            seen = world.episode().reset(task, 4)
            assert (seen["images.wrist"] == seen["images.whole"]).all()
    finally:
        world.close()


def test_camera_may_be_moved_and_turned(metaworld_settings):
    usual = {"camera": "corner2", "height": 64, "width": 96, "turn": False, "position": None}
    cameras = {
        "far": usual,
        "near": {**usual, "position": [0.75, 0.075, 0.7]},
        "turned": {**usual, "position": [0.75, 0.075, 0.7], "turn": True},
    }
    world = World({**metaworld_settings, "cameras": cameras})
    try:
        seen = world.episode().reset("push-v3", 10001)
        assert seen["images.near"].shape == (64, 96, 3)
        assert (seen["images.turned"] == seen["images.near"][::-1, ::-1]).all()
        assert np.abs(seen["images.far"].astype(int) - seen["images.near"]).mean() > 10
    finally:
        world.close()


def test_object_is_pushed_after_some_actions(metaworld_settings):
    world = World({**metaworld_settings, "push": {"after": 3, "distance": 0.05}})
    try:
        still = np.zeros((2, 4), np.float32)
        pictures = []
        for distance in (0.0, 0.05):
            world.settings["push"]["distance"] = distance
            episode = world.episode()
            episode.reset("push-v3", 10001)
            before = episode.advance(still).observation["images.front"]
            after = episode.advance(still).observation["images.front"]
            assert episode.steps == 4
            pictures.append((before, after))
        assert (pictures[0][0] == pictures[1][0]).all()
        assert (pictures[0][1] != pictures[1][1]).any()
        world.episode().reset("button-press-topdown-v3", 10001)
        with pytest.raises(UserError, match="no loose object"):
            world.call("push_object", slot=0, seed=1, distance=0.05)
    finally:
        world.close()


def test_actions_after_the_limit_are_not_asked_for(metaworld_settings):
    world = World({**metaworld_settings, "max_steps": 12})
    try:
        episode = world.episode()
        episode.reset("push-v3", 10001)
        outcome = episode.advance(np.zeros((20, 4), np.float32), look=False)
        assert outcome.over
        assert episode.steps == 12
    finally:
        world.close()


def test_task_that_is_not_there_is_said(metaworld):
    with pytest.raises(UserError, match=r"did you mean push-v3"):
        metaworld.task("push-v2")
