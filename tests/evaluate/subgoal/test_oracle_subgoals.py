"""Acting on true pictures of sub-tasks' ends, and on other scenes' pictures."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lohovla.collect.rendered_scenes import scene_env
from lohovla.envs.oracle import pick_place_action
from lohovla.errors import UserError
from lohovla.evaluate.protocol import Protocol
from lohovla.evaluate.run_evaluation import evaluate
from lohovla.evaluate.subgoal import oracle_subgoals
from lohovla.evaluate.subgoal.imagined_rollout import ImaginedStep
from lohovla.evaluate.subgoal.oracle_subgoals import (
    OracleSubgoalPolicy,
    ShuffledSubgoals,
    TrueSubgoals,
    subtask_outcome,
)
from lohovla.model.checkpoint import save_checkpoint
from lohovla.model.inference import pick_place_prediction
from lohovla.policies.base import Context
from lohovla.policies.policy_config import LoHoVLAPolicyConfig
from lohovla.policies.subgoal_source import PlannedSubtask
from lohovla.policies.subtask_decoder import SubtaskDecoder

TASK, SEED = "put-block-into-matching-bowl", 10001
NOWHERE = np.zeros((2, 5), np.float32)


@pytest.fixture(scope="module")
def painter(make_tiny):
    """A tiny core that passes for one that learned to paint."""
    return make_tiny(trained_stages=["autoencoder", "subgoal"])


@pytest.fixture
def world():
    env = scene_env(TASK)
    observation, _ = env.reset(seed=SEED)
    return env, observation


def planned(processor, text, picture):
    words = processor.tokenizer.encode(text, add_special_tokens=False)
    return PlannedSubtask(words, picture, None, SimpleNamespace(points=torch.zeros(1, 2, 5)))  # type: ignore[arg-type]


def color_error(one, other):
    return np.abs(one["images.top"].astype(int) - other["images.top"]).mean()


@pytest.mark.parametrize("control", ["pick_place", "ee"])
def test_a_true_picture_is_of_what_comes(control):
    env = scene_env(TASK, control)
    now, _ = env.reset(seed=SEED)
    scene, before = env.scene(), env.simulation.vector()
    subtask = env.problem.goal.next(scene)
    end = subtask_outcome(env, subtask.text, NOWHERE, np.random.default_rng(0))
    np.testing.assert_array_equal(env.simulation.vector(), before)  # only a copy was touched
    np.testing.assert_array_equal(env.observe()["images.top"], now["images.top"])
    played = scene_env(TASK)
    played.reset(seed=SEED)
    after, *_, info = played.step(pick_place_action(scene, subtask))
    assert info["outcome"] == "placed"
    assert color_error(end, after) < 0.2 * color_error(now, after)


def test_noise_of_the_copy_is_not_the_worlds():
    settings = {"color": 4.0, "depth": 0.002}
    seen = []
    for looks in (True, False):
        env = oracle_subgoals.BlocksEnv(TASK, control="pick_place", noise=settings)
        env.reset(seed=SEED)
        if looks:
            subtask_outcome(env, env.problem.goal.next(env.scene()).text, NOWHERE, np.random.default_rng(0))
        seen.append(env.observe()["images.top"])
    np.testing.assert_array_equal(*seen)


def test_words_that_name_no_move_change_nothing(painter, world):
    env, observation = world
    model, processor = painter
    shown, now = TrueSubgoals(model, processor, SEED), processor([observation]).picture
    shown.world = env
    text = env.problem.goal.next(env.scene()).text
    assert shown(planned(processor, "Done.", now)) is now
    end = shown(planned(processor, text, now))
    assert end.shape == now.shape
    assert not torch.equal(end, now)
    scene = replace(env.scene(), held="block0")
    env.scene = lambda: scene
    assert shown(planned(processor, text, now)) is now


def test_a_shuffled_picture_is_of_another_scene(painter, world, monkeypatch):
    env, observation = world
    model, processor = painter
    now = processor([observation]).picture
    scenes = []

    def first_of_plan(model, processor, observation, brush, most, seed):
        """Paints scenes upside down; in every second one there is nothing to do."""
        scenes.append((observation, seed))
        ends = [ImaginedStep("", NOWHERE, observation["images.top"][::-1].copy(), observation["depth.top"])]
        return ends if len(scenes) % 2 else []

    monkeypatch.setattr(oracle_subgoals, "plan_ahead", first_of_plan)
    shown = ShuffledSubgoals(model, processor, SEED)
    shown.world = env
    first, second = (shown(planned(processor, "Done.", now)) for _ in range(2))
    others = [scene_env(TASK).reset(seed=SEED + 2 * k)[0] for k in (1, 2)]
    assert [seed for _, seed in scenes] == [SEED + 2, SEED + 4]
    for (scene, _), other in zip(scenes, others, strict=True):
        np.testing.assert_array_equal(scene["images.top"], other["images.top"])
    painted = {**others[0], "images.top": others[0]["images.top"][::-1].copy()}
    torch.testing.assert_close(first, processor([painted]).picture, rtol=0, atol=0)
    torch.testing.assert_close(second, processor([others[1]]).picture, rtol=0, atol=0)


@pytest.mark.parametrize("control", ["pick_place", "ee"])
@pytest.mark.parametrize("kind", [TrueSubgoals, ShuffledSubgoals])
def test_the_policy_acts_on_what_is_shown(painter, monkeypatch, kind, control):
    env = scene_env(TASK, control)
    observation, _ = env.reset(seed=SEED)
    policy = OracleSubgoalPolicy(env, *painter, LoHoVLAPolicyConfig(subtasks="image"), kind)

    def act(picture):
        monkeypatch.setattr(kind, "_observation", lambda self, planned: picture(self.world, planned))
        policy.reset(SEED)
        return policy.act(observation, Context(world=env))

    monkeypatch.undo()
    policy.reset(SEED)
    subgoal = policy.act(observation, Context(world=env)).subgoal
    assert subgoal.shape == (160, 320, 3)
    same = act(lambda world, planned: None)
    np.testing.assert_array_equal(same.subgoal, observation["images.top"])
    turned = {**observation, "images.top": observation["images.top"][:, ::-1], "depth.top": np.zeros((160, 320))}
    other = act(lambda world, planned: turned)
    np.testing.assert_array_equal(other.subgoal, turned["images.top"])
    assert other.subtask == same.subtask
    assert not np.array_equal(other.actions, same.actions)


@pytest.mark.parametrize("kind", [TrueSubgoals, ShuffledSubgoals])
def test_what_is_shown_does_not_depend_on_other_episodes(painter, monkeypatch, kind):
    model, processor = painter
    envs = [scene_env(TASK) for _ in range(2)]
    seen = [env.reset(seed=SEED + 2 * slot)[0] for slot, env in enumerate(envs)]
    right = [env.problem.goal.next(env.scene()).text for env in envs]
    texts = {id(env): text for env, text in zip(envs, right, strict=True)}

    def oracle(self, prefix, memories):
        said = [texts[id(memory.subgoal_source.world)] for memory in memories]
        words = [processor.tokenizer.encode(text, add_special_tokens=False) for text in said]
        return pick_place_prediction.subtask_from_tokens(model, prefix, words, processor.start)

    monkeypatch.setattr(SubtaskDecoder, "_decode_subtasks", oracle)
    policy = OracleSubgoalPolicy(envs[0], *painter, LoHoVLAPolicyConfig(subtasks="image"), kind)

    def play(slots):
        """Two sub-tasks each: the reward says that the first is done."""
        for slot in slots:
            policy.reset(SEED + 2 * slot, slot)
        return [
            policy.act_batch([seen[s] for s in slots], [Context(k, float(k), envs[s], s) for s in slots])
            for k in range(2)
        ]

    together, alone = play([0, 1]), [play([0]), play([1])]
    for slot in range(2):
        for turn, apart in zip(together, alone[slot], strict=True):
            np.testing.assert_array_equal(turn[slot].subgoal, apart[0].subgoal)
            np.testing.assert_allclose(turn[slot].actions, apart[0].actions, atol=1e-5)
            assert color_error({"images.top": apart[0].subgoal}, seen[slot]) > 0.1
        assert not np.array_equal(together[0][slot].subgoal, together[1][slot].subgoal)


@pytest.mark.parametrize("factory", ["true_pictures", "shuffled_pictures"])
def test_an_evaluation_is_the_same_in_any_number_of_processes(painter, tmp_path, factory):
    save_checkpoint(*painter, tmp_path / "core")
    settings = {"factory": f"{oracle_subgoals.__name__}:{factory}", "checkpoint": str(tmp_path / "core")}
    env = {"control": "pick_place", "cameras": {"top": {"width": 320, "height": 160, "depth": True}}}
    seeds = tuple(range(SEED, SEED + 8, 2))
    protocol = Protocol(("pick-and-place-primitive",), seeds, "custom", env, policy_settings=settings)
    rows = []
    for workers in (1, 2):
        folder = tmp_path / f"{workers}"
        folder.mkdir()
        rows.append(evaluate(protocol, folder, workers=workers, batch=2)[0])
    assert rows[0] == rows[1]
    assert all(row["subtasks"] for row in rows[0])


def test_bad_settings_are_refused(painter, world):
    env, observation = world
    with pytest.raises(UserError, match="acts on no pictures"):
        OracleSubgoalPolicy(env, *painter, LoHoVLAPolicyConfig(), TrueSubgoals)
    with pytest.raises(UserError, match="salt"):
        oracle_subgoals.true_pictures(env, salt=1)
    policy = OracleSubgoalPolicy(env, *painter, LoHoVLAPolicyConfig(subtasks="image"), TrueSubgoals)
    policy.reset(SEED)
    with pytest.raises(UserError, match="made in the simulation"):
        policy.act(observation, Context())
