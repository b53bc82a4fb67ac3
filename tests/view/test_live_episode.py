"""An episode that people take part in: goals in words, policies that take turns, a hand."""

import sys
import types

import numpy as np
import pytest

from lohovla.errors import UserError
from lohovla.policies.base import Decision, Policy, PolicySpec
from lohovla.view.live_episode import HAND, LiveEpisode, PolicyChoice

TASK = "put-block-into-matching-bowl"


class Listener(Policy):
    """Notes the words that it is told; its chunk stays where the tool is."""

    def __init__(self, env):
        self.spec = PolicySpec((), env.control, env.action_space.shape, 2, env.control_hz)
        self.heard, self.resets = [], 0

    def reset(self, seed, slot=0):
        self.resets += 1

    def act(self, observation, context):
        self.heard.append(observation["instruction"])
        stay = np.array([*observation["state"][:7]], np.float32)
        over = "nothing" if "impossible" in observation["instruction"] else ""
        return Decision(np.stack([stay, stay]), "stay", planned=True, over=over)


class Looker(Listener):
    """Looks at pictures, and notes where the tool is as it decides."""

    def __init__(self, env):
        super().__init__(env)
        self.spec = PolicySpec(("images.top",), env.control, env.action_space.shape, 2, env.control_hz)

    def act(self, observation, context):
        self.heard.append(observation["state"][:3].copy())
        ahead = np.array([0.5, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0], np.float32)
        return Decision(np.stack([ahead] * 30), "go", planned=True)


@pytest.fixture
def live():
    made = []

    def begin(control="pick_place", policy="oracle", task=TASK, **cameras):
        choices = {"oracle": PolicyChoice("oracle", {}), "listener": PolicyChoice("listening:make_listener", {})}
        choices["looker"] = PolicyChoice("listening:make_looker", {})
        episode = LiveEpisode({"control": control, "cameras": cameras}, choices)
        episode.begin(task, 10001)
        episode.choose(policy)
        made.append(episode)
        return episode

    return begin


@pytest.fixture(autouse=True)
def installed_listener(monkeypatch):
    """The policy of this module can be named as `listening:make_listener`."""
    module = types.ModuleType("listening")
    module.make_listener, module.make_looker = Listener, Looker
    monkeypatch.setitem(sys.modules, "listening", module)


def play(episode, most=400):
    for _ in range(most):
        if not episode.step() or episode.ended:
            return


def test_the_tasks_goal_is_reached_and_another_is_typed(live):
    episode = live()
    play(episode)
    assert episode.ended == "the goal is reached"
    assert episode.env.episode.score == 1.0
    assert episode.step() is False  # it stands still
    one = [block.color for block in episode.env.scene().blocks.values()]
    color = next(color for color in one if one.count(color) == 1)
    episode.set_goal(f"  Put the {color} block in   the top left area ")
    assert episode.instruction == f"Put the {color} block in the top left area"
    assert episode.note == episode.ended == ""
    assert episode.env.episode.score == 0.0
    play(episode)
    assert episode.ended == "the goal is reached"
    scene = episode.env.scene()
    name = next(name for name, block in scene.blocks.items() if block.color == color)
    x, y, _ = scene.centre(name)
    assert x < 0.5
    assert y < 0.0
    episode.set_goal(episode._given.instruction)  # the task's own words: its own score again
    assert episode.env.episode.score > 0.0


def test_words_that_only_a_model_may_read(live):
    episode = live("ee", "listener")
    episode.step()
    episode.set_goal("tidy up a little")
    assert "cannot score" in episode.note
    resets = episode._policies["listener"].resets
    episode.step()
    assert episode._policies["listener"].heard[-1] == "tidy up a little"  # and not the rest of the old chunk
    assert episode.subtasks == [(episode.subtasks[0][0], "stay")]
    assert episode.env.episode.score == 0.0
    assert resets == 2
    episode.set_goal("the impossible")
    episode.step()
    assert episode.ended == "the policy says that nothing can be done"
    assert episode.step() is False


def test_the_arm_is_out_of_the_cameras_way_when_a_model_looks(live):
    episode = live("ee", "looker")
    looks = episode._policies["looker"].heard
    for _ in range(31):
        episode.step()
    assert len(looks) == 2
    assert abs(looks[1][2] - looks[0][2]) > 0.05
    episode.set_goal("tidy up")
    while len(looks) == 2:
        episode.step()
    assert looks[2] == pytest.approx(looks[0], abs=0.01)


def test_a_goal_that_the_table_cannot_meet_is_said(live):
    episode = live()
    episode.set_goal("Put the magenta block in the top left area")
    assert episode.note
    there = {block.color for block in episode.env.scene().blocks.values()}
    missing = next(c for c in ("red", "green", "blue", "yellow", "purple", "cyan", "white") if c not in there)
    episode.set_goal(f"Put the {missing} block in the top left area")
    assert missing in episode.note


def test_a_policy_takes_over_what_a_hand_holds(live):
    episode = live("ee", HAND)
    scene = episode.env.scene()
    goal = episode.env.problem.goal.next(scene)
    x, y, _ = scene.centre(goal.pick)
    episode.hand._aim = x, y
    while episode.hand._aim is not None:
        episode.step()
    for _ in range(60):  # the arm comes after
        episode.step()
    episode.hand.closed = True
    for step in range(400):
        episode.hand.move(np.array([0.0, 0.0, -1.0, 0.0]), now=np.inf) if step == 0 else None
        episode.step()
        if episode.env.simulation.held:
            break
    assert episode.env.simulation.held == goal.pick
    episode.choose("oracle")
    moved = episode.env.simulation.held
    for _ in range(200):
        episode.step()
        if episode.env.simulation.held is None:
            break
    assert episode.env.scene().centre(moved)[:2] == pytest.approx([goal.place.x, goal.place.y], abs=0.02)


def test_a_hand_moves_the_tool_while_it_is_heard(live):
    episode = live("ee", HAND)
    episode.step()
    before = episode.env.observe_state()[:3]
    episode.hand.move(np.array([1.0, -5.0, 0.0, 0.0]), now=np.inf)  # at most at full speed
    for _ in range(10):
        episode.step()
    episode.hand.move(np.zeros(4), now=0.0)  # let go
    for _ in range(10):
        episode.step()
    went = episode.env.observe_state()[:3] - before
    assert went[:2] == pytest.approx([0.125, -0.125], abs=0.01)
    episode.hand.move(np.array([1.0, 0.0, 0.0, 0.0]), now=0.0)  # heard of long ago: the page has gone
    after = episode.env.observe_state()[:3]
    for _ in range(10):
        episode.step()
    assert episode.env.observe_state()[:3] == pytest.approx(after, abs=0.003)


def test_two_clicks_pick_and_place(live):
    episode = live("pick_place", HAND)
    assert episode.step() is False
    scene = episode.env.scene()
    goal = episode.env.problem.goal.next(scene)
    for x, y in (scene.centre(goal.pick)[:2], (goal.place.x, goal.place.y)):
        episode.hand.click(y + 0.5, (x - 0.25) / 0.5, "pick_place")
    assert episode.step() is True
    assert episode.env.episode.score > 0.0
    assert episode.step() is False
    for at in ((0.0, 0.0), (0.9, 0.9)):  # where nothing is
        episode.hand.click(*at, "pick_place")
    episode.step()
    assert "nothing was gripped" in episode.note


def test_a_hand_goes_on_after_the_end(live):
    episode = live()
    play(episode)
    episode.choose(HAND)
    for at in ((0.0, 0.0), (0.1, 0.1)):
        episode.hand.click(*at, "pick_place")
    episode.step()
    for at in ((0.0, 0.0), (0.1, 0.1)):
        episode.hand.click(*at, "pick_place")
    assert episode.step() is True


def test_another_table_and_a_wrong_one(live):
    episode = live()
    episode.step()
    episode.begin("stack-all-blocks-on-a-zone", 10003)
    assert episode.env.problem.layout is episode._given.layout
    assert (episode.task, episode.subtasks) == ("stack-all-blocks-on-a-zone", [])
    play(episode)
    assert episode.ended == "the goal is reached"
    with pytest.raises(UserError, match="no task"):
        episode.begin("dance", 1)
    assert episode.task == "stack-all-blocks-on-a-zone"
