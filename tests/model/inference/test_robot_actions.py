"""Chunks from the cache: what is decoded step by step is what training saw in one pass."""

import numpy as np
import pytest
import torch
from point_world import COLORS, PointWorld, tiny_model

from lohovla.model.inference.pick_place_prediction import subtask_from_tokens
from lohovla.model.inference.robot_actions import action_chunk, read_subtask
from lohovla.model.inference.subtask_decoding import decode_autoregressive, decode_block_diffusion
from lohovla.train.imitation.demonstration_batch import DemonstrationBatch, ImitationSettings
from lohovla.train.imitation.demonstration_forward import DemonstrationForward


@pytest.fixture(scope="module", params=[True, False], ids=["keyframes", "no keyframes"])
def made(request):
    model, processor = tiny_model(keyframes=request.param)
    return model.eval(), processor


def observations():
    world = PointWorld()
    return [world.reset(seed) for seed in (0, 2, 4)]


@torch.no_grad()
def test_decoding_from_the_cache_is_one_pass_of_training(made):
    model, processor = made
    seen = observations()
    subtasks = [f"Go to the {color} square." for color in (*COLORS, "red")]
    told = torch.tensor([True, True, False])
    inputs = processor(seen, [text if told[row] else "" for row, text in enumerate(subtasks)])
    prefix = model.encode_robot(inputs)
    tokens = [processor.words(text) if told[row] else [] for row, text in enumerate(subtasks)]
    cached = read_subtask(model, subtask_from_tokens(model, prefix, tokens, processor.start), prefix)
    nothing = torch.zeros(3, 8, 2)
    batch = DemonstrationBatch(
        inputs,
        processor.subtasks(subtasks),
        told,
        ~told,
        nothing,
        nothing[..., 0] > 1,
        inputs.state,
        torch.ones(3, dtype=torch.bool),
        torch.ones(3),
    )
    whole = DemonstrationForward(model, batch, processor, ImitationSettings())
    assert torch.allclose(cached.condition, torch.cat([inputs.state, whole._read()], -1), atol=1e-4)


@torch.no_grad()
def test_a_chunk_follows_from_its_noise_and_continues_a_prefix(made):
    model, processor = made
    prefix = model.encode_robot(processor(observations()))
    context = read_subtask(model, subtask_from_tokens(model, prefix, [[]] * 3, processor.start), prefix)
    noise = torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(3))
    chunk = action_chunk(model, context, 4, noise)
    assert torch.equal(chunk, action_chunk(model, context, 4, noise))
    given = torch.full((3, 2, 2), 0.7)
    continued = action_chunk(model, context, 4, noise, given)
    assert torch.equal(continued[:, :2], given)
    assert not torch.allclose(continued[:, 2:], chunk[:, 2:])
    assert np.isfinite(processor.actions(chunk, np.zeros((3, 2), np.float32))).all()


def test_a_sub_task_is_said_word_by_word_and_by_block_diffusion(made):
    model, processor = made
    prefix = model.encode_robot(processor(observations()))
    for words in (
        decode_autoregressive(model, prefix, processor.start, processor.end),
        decode_block_diffusion(model, prefix, processor.start, processor.end, processor.mask),
    ):
        assert len(words.tokens) == 3
        assert all(len(row) <= model.config.max_subtask for row in words.tokens)
