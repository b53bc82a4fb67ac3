"""The core as a policy of LeRobot: it acts as in `lohovla evaluate`, learns, and its checkpoints go both ways.

Run with a Python that has LeRobot (docs/lerobot.md): ``lerobot-env/bin/python -m pytest tests/plugins``.
"""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from point_world import PointWorld, tiny_model, train_words, write_dataset

from lohovla.errors import UserError
from lohovla.model.checkpoint import load_robot_checkpoint, save_checkpoint
from lohovla.policies.base import Context
from lohovla.policies.registry import make_policy

INSTALL = "Python 3.12: pip install -e . -e plugins/lerobot_policy_lohovla (docs/lerobot.md)"
lerobot = pytest.importorskip("lerobot", reason=INSTALL)
plugin = pytest.importorskip("lerobot_policy_lohovla", reason=INSTALL)

from lerobot.configs import FeatureType, PolicyFeature, PreTrainedConfig  # noqa: E402
from lerobot.policies.factory import get_policy_class, make_pre_post_processors  # noqa: E402

FEATURES = {
    "input_features": {
        "observation.images.top": PolicyFeature(FeatureType.VISUAL, (3, 32, 32)),
        "observation.state": PolicyFeature(FeatureType.STATE, (2,)),
    },
    "output_features": {"action": PolicyFeature(FeatureType.ACTION, (2,))},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "robot"
    model, processor = tiny_model()
    with torch.no_grad():
        model.decoder.get_input_embeddings().weight[processor.tokenizer.all_special_ids] = (
            0  # else it plans to say nothing
        )
    save_checkpoint(model, processor, folder)
    return str(folder)


def configured(**settings):
    return plugin.LeRobotLoHoVLAConfig(device="cpu", push_to_hub=False, **{**FEATURES, **settings})


def policy_of(config, **more):
    return get_policy_class("lohovla")(config, **more)


def as_lerobot(observations):
    pictures = np.stack([seen["images.top"] for seen in observations])
    return {
        "observation.images.top": torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255,
        "observation.state": torch.from_numpy(np.stack([seen["state"] for seen in observations])),
        "task": [seen["instruction"] for seen in observations],
    }


def played(policy, processors, worlds, steps):
    """Actions (steps, B, 2) that LeRobot's evaluation would carry out, and what it saw."""
    before, after = processors
    policy.reset()
    actions, seen = [], [world.reset(seed) for world, seed in worlds]
    for _ in range(steps):
        action = after(policy.select_action(before(as_lerobot(seen)))).numpy()
        actions.append(action)
        seen = [world.step(one) for (world, _), one in zip(worlds, action, strict=True)]
    return np.array(actions)


def test_actions_are_those_of_lohovla_evaluate(checkpoint):
    """Over several chunks and two rollouts of two episodes, to the bit: same observations, same seeds."""
    config = configured(checkpoint=checkpoint, n_action_steps=3, noise_seed=7)
    policy = policy_of(config).eval()
    processors = make_pre_post_processors(config)
    for rollout in range(2):
        seeds = [7 + 2 * rollout, 8 + 2 * rollout]
        told = played(policy, processors, [(PointWorld(), seed) for seed in seeds], 9)
        worlds = [PointWorld(), PointWorld()]
        own = make_policy(
            "lohovla", type("Env", (), {"unwrapped": worlds[0]})(), checkpoint=checkpoint, n_action_steps=3
        )
        seen = [world.reset(seed) for world, seed in zip(worlds, seeds, strict=True)]
        for slot, seed in enumerate(seeds):
            own.reset(seed, slot)
        wanted = []
        for step in (0, 3, 6):
            chunks = [d.actions for d in own.act_batch(seen, [Context(step, slot=slot) for slot in range(2)])]
            for actions in zip(*chunks, strict=True):
                seen = [world.step(one) for world, one in zip(worlds, actions, strict=True)]
                wanted.append(actions)
        np.testing.assert_array_equal(told, np.array(wanted))
        assert all(policy.subtasks)


def test_what_lerobot_saves_is_opened_by_both(checkpoint, tmp_path):
    config = configured(checkpoint=checkpoint, n_action_steps=4)
    policy = policy_of(config).eval()
    policy.save_pretrained(tmp_path / "saved")
    assert "checkpoint" not in (tmp_path / "saved/config.json").read_text().replace('"checkpoint": null', "")
    again = get_policy_class("lohovla").from_pretrained(tmp_path / "saved")
    assert not again.training
    batch = as_lerobot([PointWorld().reset(0)])
    assert torch.equal(policy.predict_action_chunk(batch), again.predict_action_chunk(batch))
    model, processor = load_robot_checkpoint(tmp_path / "saved/lohovla")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), policy.model.parameters(), strict=True))
    assert processor.subtasks_known
    assert isinstance(PreTrainedConfig.from_pretrained(tmp_path / "saved"), plugin.LeRobotLoHoVLAConfig)


def test_it_says_the_next_subtask_and_episodes_go_on(checkpoint):
    policy, alone = (policy_of(configured(checkpoint=checkpoint)).eval() for _ in range(2))
    seen = as_lerobot([PointWorld().reset(0), PointWorld().reset(2)])
    assert policy.supports_text_generation()
    first = policy.select_action(seen), alone.select_action(seen)
    said = policy.generate_text(seen)
    assert said == policy.subtasks  # planned for the same observations
    assert all(said)
    for _ in range(8):
        first = policy.select_action(seen), alone.select_action(seen)
        assert torch.equal(*first)


def test_without_subtasks_it_has_none_to_say(tmp_path):
    save_checkpoint(*tiny_model(subtasks=False), tmp_path / "plain")
    policy = policy_of(configured(checkpoint=str(tmp_path / "plain")))
    assert not policy.supports_text_generation()
    with pytest.raises(UserError, match="without sub-tasks"):
        policy.generate_text(as_lerobot([PointWorld().reset(0)]))


def test_it_learns_from_lerobots_batches(tmp_path):
    """A new core of a data set: all the losses of `lohovla train`, sub-tasks among them, which go down."""
    root = write_dataset(tmp_path / "set", 4, subtasks=True)
    meta = SimpleNamespace(root=root)
    words = [word for word in train_words(root, tmp_path) if word.startswith(("recipe.", "image_height="))]
    torch.manual_seed(0)
    policy = policy_of(configured(settings=words), dataset_meta=meta).train()
    assert policy.config.chunk_size == 8
    assert policy.config.action_delta_indices == list(range(8))
    assert policy.table is not None
    frames = np.arange(0, 64, 4)
    numbers = policy.table.numbers(frames, 8)
    world = [PointWorld().reset(2 * (frame // 16)) for frame in frames]
    batch = as_lerobot(world) | {
        "observation.state": numbers["state"],
        "action": numbers["action"],
        "action_is_pad": numbers["action_is_pad"],
        "task": numbers["instruction"],
        "index": torch.from_numpy(frames),
    }
    optimizer = torch.optim.AdamW(policy.get_optim_params(), 1e-3)
    losses = []
    for _ in range(40):
        loss, parts = policy.forward(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert parts.keys() == {f"loss/{name}" for name in ("action", "keyframe", "progress", "text/ar", "text/d2f")}
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8])


def test_what_does_not_fit_is_refused(checkpoint):
    with pytest.raises(UserError, match="no checkpoint and no data set"):
        policy_of(configured())
    other = {**FEATURES["input_features"]}
    other["observation.images.side"] = other.pop("observation.images.top")
    with pytest.raises(UserError, match="no camera top"):
        policy_of(configured(checkpoint=checkpoint, input_features=other))
    renamed = policy_of(configured(checkpoint=checkpoint, input_features=other, rename={"side": "top"}))
    batch = as_lerobot([PointWorld().reset(0)])
    batch["observation.images.side"] = batch.pop("observation.images.top")
    assert renamed.eval().select_action(batch).shape == (1, 2)
    with pytest.raises(ValueError, match="normalises by itself"):
        configured(normalization_mapping={"STATE": "MEAN_STD"})


def test_the_page_names_settings_that_there_are():
    page = (Path(__file__).parents[2] / "docs/lerobot.md").read_text(encoding="utf-8")
    named = set(re.findall(r"--policy\.(\w+)", page))
    assert named - {field.name for field in dataclasses.fields(plugin.LeRobotLoHoVLAConfig)} <= {"type", "path"}
