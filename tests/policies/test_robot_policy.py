"""The policy of a checkpoint that learned from demonstrations: what it fits, and what its decisions follow from."""

import numpy as np
import pytest
from point_world import PointWorld, tiny_model

from lohovla.errors import UserError
from lohovla.model.checkpoint import save_checkpoint
from lohovla.policies.base import Context
from lohovla.policies.realtime_policy import Denoiser, RealtimePolicy
from lohovla.policies.registry import make_policy


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "robot"
    save_checkpoint(*tiny_model(), folder)
    return str(folder)


def env(**changes):
    world = PointWorld()
    for name, value in changes.items():
        setattr(world, name, value)
    return type("Env", (), {"unwrapped": world})()


@pytest.fixture(scope="module")
def relative(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "relative"
    save_checkpoint(*tiny_model(relative_actions={"dx": "x"}), folder)
    return str(folder)


@pytest.fixture(params=["checkpoint", "relative"])
def policy(request):
    return make_policy("lohovla", env(), checkpoint=request.getfixturevalue(request.param))


def test_a_decision_has_the_actions_that_are_carried_out(checkpoint):
    policy = make_policy("lohovla", env(), checkpoint=checkpoint, n_action_steps=3)
    policy.reset(1)
    decision = policy.act(PointWorld().reset(0), Context())
    assert decision.actions.shape == (3, 2)
    assert decision.planned
    assert 0 <= decision.progress <= 1
    assert policy.spec.horizon == 8
    assert policy.spec.control_hz == 10


def test_decisions_do_not_depend_on_company(policy):
    seen = [PointWorld().reset(seed) for seed in (0, 2)]
    for slot in range(2):
        policy.reset(slot, slot)
    together = policy.act_batch(seen, [Context(slot=0), Context(slot=1)])
    policy.reset(1, 1)
    alone = policy.act(seen[1], Context(slot=1))
    assert np.allclose(alone.actions, together[1].actions, atol=1e-4)
    assert alone.subtask == together[1].subtask


def test_a_sub_task_is_kept_until_it_is_done_or_takes_too_long(checkpoint):
    policy = make_policy("lohovla", env(), checkpoint=checkpoint, subtask_timeout=2.0, success_threshold=1.0)
    policy.reset(0)
    seen = PointWorld().reset(0)
    planned = [policy.act(seen, Context(step=step)).planned for step in (0, 8, 16, 20, 24)]
    assert planned == [True, False, False, True, False]


def test_pictures_are_read_at_every_chunk(policy):
    world = PointWorld()
    seen = world.reset(0)
    policy.reset(0)
    first = policy.act(seen, Context())
    other = {**seen, "images.top": 255 - seen["images.top"]}
    policy.reset(0)
    assert not np.allclose(first.actions, policy.act(other, Context()).actions)


def test_it_plans_and_acts_in_the_real_time_loop(policy):
    assert isinstance(policy, RealtimePolicy)
    assert isinstance(policy, Denoiser)
    policy.reset(0)
    seen = PointWorld().reset(0)
    plan = policy.plan(seen, Context())
    before = policy.chunk(seen, Context(), plan).actions
    assert before.shape == (8, 2)
    continued = policy.chunk(seen, Context(), plan, before[3:], inference_delay=2).actions
    assert np.array_equal(continued[:2], before[3:5])
    encoding = policy.encode(seen, Context(), plan)
    x = policy.normalize(before, encoding)
    assert policy.velocity(x, 0.5, encoding).shape == (8, 2)
    assert np.allclose(policy.finish(x, encoding).actions, before, atol=1e-5)


def test_relative_actions_start_from_the_state_that_is_seen(relative):
    policy = make_policy("lohovla", env(), checkpoint=relative)
    policy.reset(0)
    seen = [PointWorld().reset(0) for _ in range(2)]
    seen[1]["state"] = seen[1]["state"] + np.float32([0.25, 0.25])
    plan = policy.plan(seen[0], Context())
    here, there = (policy.encode(each, Context(), plan) for each in seen)
    x = policy.normalize(np.zeros((8, 2), np.float32), here)
    assert np.allclose(policy.finish(x, here).actions, 0.0, atol=1e-5)
    assert np.allclose(policy.finish(x, there).actions, [0.25, 0.0], atol=1e-5)


def test_an_environment_with_another_camera_or_action(checkpoint):
    from dataclasses import replace

    features = PointWorld.features
    front = replace(features, cameras=(replace(features.cameras[0], name="front"),))
    with pytest.raises(UserError) as caught:
        make_policy("lohovla", env(features=front), checkpoint=checkpoint)
    assert "rename={front: top}" in str(caught.value)
    renamed = make_policy("lohovla", env(features=front), checkpoint=checkpoint, rename={"front": "top"})
    assert renamed.spec.observation_keys[0] == "images.front"
    with pytest.raises(UserError, match="action"):
        make_policy("lohovla", env(features=replace(features, action_names=("x", "y", "z"))), checkpoint=checkpoint)
    with pytest.raises(UserError, match="frames a second"):
        make_policy("lohovla", env(features=replace(features, fps=80.0)), checkpoint=checkpoint)


def test_settings_of_the_block_world_are_refused(checkpoint):
    with pytest.raises(UserError, match=r"policy\.grammar is a setting of the block world's checkpoints"):
        make_policy("lohovla", env(), checkpoint=checkpoint, grammar="none")
