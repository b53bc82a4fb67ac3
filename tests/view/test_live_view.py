"""The thread of the live view: what is asked for, holding, speed, faults of policies."""

import io
import sys
import time
import types

import numpy as np
import pytest
from PIL import Image

from lohovla.errors import UserError
from lohovla.policies.base import Decision, Policy, PolicySpec
from lohovla.view.live_episode import HAND, PolicyChoice
from lohovla.view.live_view import LiveView

TASK = "put-block-into-matching-bowl"


class Bad(Policy):
    """Fails at once."""

    def __init__(self, env):
        self.spec = PolicySpec((), env.control, env.action_space.shape, 1, env.control_hz)

    def act(self, observation, context):
        raise ZeroDivisionError("a fault of mine\nwith more lines")


class Imagines(Bad):
    """Goes nowhere and shows a picture."""

    def act(self, observation, context):
        stay = np.array([observation["state"][:7]], np.float32)
        return Decision(stay, "look", planned=True, subgoal=np.full((10, 20, 3), 90, np.uint8), timing={"act": 3.0})


@pytest.fixture
def open_view(monkeypatch):
    module = types.ModuleType("of_a_person")
    module.bad, module.imagines = Bad, Imagines
    monkeypatch.setitem(sys.modules, "of_a_person", module)
    choices = {
        "oracle": PolicyChoice("oracle", {}),
        "bad": PolicyChoice("of_a_person:bad", {}),
        "imagines": PolicyChoice("of_a_person:imagines", {}),
        "gone": PolicyChoice("of_nobody:make", {}),
    }
    made = []

    def begin(control="pick_place", policy="oracle", **settings):
        made.append(LiveView({"control": control}, choices, TASK, 10001, policy, **{"speed": 20.0, **settings}))
        return made[-1]

    yield begin
    for view in made:
        view.close()
        assert not view._thread.is_alive()


def until(view, true, limit=60.0):
    end = time.monotonic() + limit
    while not true(view.snapshot()):
        assert time.monotonic() < end, view.snapshot()
        time.sleep(0.01)


def test_it_plays_and_shows(open_view):
    view = open_view()
    until(view, lambda now: now["ended"] == "the goal is reached")
    shown = view.snapshot()
    assert shown["score"] == 1.0
    assert len(shown["subtasks"]) >= 2
    assert shown["subtask"].startswith("Pick up the ")
    for camera, size in (("film", (640, 480)), ("top", (320, 160)), ("wrist", (160, 160))):
        assert Image.open(io.BytesIO(view.picture(camera))).size == size
    assert view.picture("front") is None


def test_a_motion_is_cut_off_by_what_is_asked_for(open_view):
    view = open_view(speed=0.01)  # a pick and place would take minutes
    until(view, lambda now: now["subtask"])
    view.ask("taking the goal", lambda: view.episode.set_goal("Put the red block in the top left area"))
    until(view, lambda now: now["goal"].startswith("Put the red block"))
    view.ask("loading hand", lambda: view.episode.choose(HAND))
    until(view, lambda now: now["chosen"] == HAND)


@pytest.mark.parametrize("control", ["ee", "pick_place"])
def test_it_is_held_and_goes_on(open_view, control):
    view = open_view(control, playing=False)
    time_then = view.snapshot()["seconds"]
    view.ask("nothing", lambda: None)
    until(view, lambda now: not view._requests and not now["busy"])
    assert view.episode.env.simulation.time == time_then == 0.0
    view.play(True)
    until(view, lambda now: now["seconds"] > 0.3)
    view.play(False)  # within a pick and place, too
    ticks = []
    view.episode.env.watch(lambda: (ticks.append(1), view._tick()))
    view.ask("nothing", lambda: None)
    until(view, lambda now: not view._requests)
    assert len(ticks) <= 1


def test_simulated_time_is_no_faster_than_is_asked_for(open_view):
    began = time.monotonic()
    view = open_view("ee", speed=0.5, playing=False)
    view.play(True)
    until(view, lambda now: now["seconds"] >= 0.5)
    assert time.monotonic() - began >= 0.75  # 0.45 s are shown as 0.5, and a look before it moves counts


def test_faults_are_told_and_it_goes_on_with_another(open_view):
    view = open_view("ee", "bad")
    until(view, lambda now: now["note"] == "ZeroDivisionError: a fault of mine")
    assert not view.playing
    view.ask("loading", lambda: view.episode.choose("gone"))
    until(view, lambda now: "of_nobody" in now["note"])
    assert view.snapshot()["chosen"] == "bad"
    view.ask("loading", lambda: view.episode.choose("imagines"))
    view.play(True)
    until(view, lambda now: now["subgoal"] is not None)
    assert view.subgoal().shape == (10, 20, 3)
    assert view.snapshot()["decision_ms"] == 3.0


def test_what_it_cannot_begin_with_is_refused(open_view):
    with pytest.raises(UserError, match="of_nobody"):
        open_view(policy="gone")
