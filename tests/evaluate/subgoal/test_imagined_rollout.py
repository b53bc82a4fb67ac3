"""Imagined plans: what words mean in a true scene, what the oracle makes of them, and the page."""

import numpy as np
import pytest

from lohovla.collect.rendered_scenes import scene_env
from lohovla.evaluate.report.imagined_plan_page import record, sheet, write_page
from lohovla.evaluate.subgoal.imagined_rollout import ImaginedStep, execute_plan, plan_ahead, resolve_subtask
from lohovla.model.inference.subgoal_generation import SubgoalSamplingConfig
from lohovla.model.language.subtask_constraints import SubtaskConstraints
from lohovla.model.language.token_trie import TokenTrie

TABLE = "Pick up the red block and place it on the table."


def said(text, x=0.5, y=0.0):
    points = np.zeros((2, 5), np.float32)
    points[0, :2] = x, y
    return ImaginedStep(text, points, np.zeros((160, 320, 3), np.uint8), np.zeros((160, 320), np.float32))


def meant(text, x=0.5, y=0.0):
    step = said(text, x, y)
    return step.text, step.points


def test_words_are_found_in_the_scene(hand_scene):
    scene = hand_scene(
        {"a": ("red", 0.04, 0.4, -0.2, 0.0), "b": ("blue", 0.04, 0.6, 0.2, 0.0)}, {"bowl": ("green", 0.5, 0.0)}
    )
    found = resolve_subtask(scene, None, *meant("Pick up the red block and place it on the blue block."))
    assert (found.pick, found.target) == ("a", "b")
    found = resolve_subtask(scene, None, *meant("Pick up the blue block and place it in the green bowl."))
    assert (found.pick, found.target) == ("b", "bowl")
    assert resolve_subtask(scene, None, *meant("Pick up the pink block and place it in the green bowl.")) is None
    assert resolve_subtask(scene, None, *meant("Pick up the blue block and place it in the red bowl.")) is None


def test_of_two_that_fit_the_one_that_was_pointed_at_is_meant(hand_scene):
    scene = hand_scene({"a": ("red", 0.04, 0.4, -0.2, 0.0), "b": ("red", 0.04, 0.6, 0.2, 0.0)})
    assert resolve_subtask(scene, None, *meant(TABLE, 0.41, -0.19)).pick == "a"
    assert resolve_subtask(scene, None, *meant(TABLE, 0.58, 0.21)).pick == "b"


def test_an_imagined_plan_keeps_to_the_goal(tiny, monkeypatch):
    model, processor = tiny
    observation, _ = scene_env("pick-and-place-primitive").reset(seed=1)
    done = TokenTrie([processor.tokenizer.encode("Done.", add_special_tokens=False)], processor.end)
    told = []
    monkeypatch.setattr(
        SubtaskConstraints, "for_scene", lambda self, objects, row, without=(), goal=None: told.append(goal) or done
    )
    assert plan_ahead(model, processor, observation, SubgoalSamplingConfig(), 1, seed=0) == []
    assert told == [observation["instruction"]]


@pytest.fixture(scope="module")
def played():
    env = scene_env("pick-and-place-primitive")
    observation, _ = env.reset(seed=1)
    right = env.problem.goal.next(env.scene()).text
    plan = [said("Pick up the gray moon and place it on the table."), said(right), said(right)]
    return observation, plan, execute_plan(env, plan)


def test_the_oracle_follows_and_stops_at_the_end(played):
    _, _, happened = played
    assert happened[0].note == "nothing here is what the words say"
    assert (happened[1].note, happened[1].score) == ("placed", 1.0)
    assert happened[0].score == 0.0
    assert happened[2].note != "placed"


def test_the_page_holds_everything(played, tmp_path):
    observation, plan, happened = played
    facts = record(plan, happened, observation)
    assert [("psnr" in fact) for fact in facts] == [False, True, True]
    title = {"task": "some-task", "seed": 1, "goal": "Put <this> there."}
    write_page(tmp_path / "plan.html", title, observation, plan, happened, facts)
    text = (tmp_path / "plan.html").read_text()
    assert text.count("data:image/jpeg;base64,") == 1 + 3 * len(plan)
    assert "Put &lt;this&gt; there." in text
    assert "http" not in text.replace("http-equiv", "")
    assert sheet(title, observation, plan, happened).size == (968, 26 + 4 * 266)
