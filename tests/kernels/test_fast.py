"""Backends of a decision: the same sub-tasks, points and poses within stated bounds, on the shipped model."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from lohovla.benchmarks.model.model import observation_of
from lohovla.errors import UserError
from lohovla.model.attention_mask import TokenType
from lohovla.model.backends.device_transfer import DeviceTransfer
from lohovla.model.backends.fused_decoder import FusedDecoder
from lohovla.model.backends.graph_runners import CompiledRunner, EagerRunner, next_power_of_two, round_up
from lohovla.model.backends.graph_tensors import WordTensors, padded_shapes, shapes_of, tensors_of
from lohovla.model.backends.inference_backend import BACKENDS, InferenceBackend
from lohovla.model.checkpoint import load_checkpoint
from lohovla.model.inference import action_sampling, pick_place_prediction
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.policies.policy_config import LoHoVLAPolicyConfig

from .capture import Captured, Capturing

BOUND = 3e-5  # metres and radians


@pytest.fixture(scope="module")
def loaded():
    return load_checkpoint(None)


@pytest.fixture(scope="module")
def observations():
    """Three, whose goals differ in length."""
    seen = observation_of("put-block-into-matching-bowl")
    other = {**seen, "images.top": np.ascontiguousarray(seen["images.top"][:, ::-1]), "depth.top": seen["depth.top"]}
    return [seen, {**seen, "instruction": "put the red block in the bowl"}, other]


def decide(fast, processor, observations, planner):
    """Everything that a decision computes."""
    start, end, mask = processor.start, processor.end, processor.mask
    inputs = processor(observations)
    prefix = fast.encode(inputs)
    if planner == "ar":
        subtask_constraints = processor.subtask_constraints()
        words = fast.decode_autoregressive(
            prefix, start, end, [subtask_constraints.for_scene(prefix.objects, row) for row in range(len(observations))]
        )
    else:
        words = fast.decode_block_diffusion(prefix, start, end, mask)
    pointed = fast.predict_pick_place(prefix, words)
    attended = ActionContext.from_predictions(pointed)
    generators = [torch.Generator().manual_seed(row) for row in range(len(observations))]
    noise = action_sampling.sample_action_noise(fast.model, "ee", generators)
    motion = torch.full((len(observations), 4), 0.01)
    ee = fast.sample_ee_chunk(attended, inputs.state, motion, 3, noise)
    return {
        "words": words,
        "layout": prefix.layout,
        "states": prefix.tokens,
        "points": pointed.points,
        "ee": ee,
        "joined": fast.sample_ee_chunk(attended, inputs.state, motion, 3, noise, ee[:, :4] + 0.001),
        "pick_place": fast.sample_pick_place(
            attended, 3, action_sampling.sample_action_noise(fast.model, "pick_place", generators)
        ),
    }


@pytest.fixture(scope="module")
def eager(loaded, observations):
    return {planner: decide(InferenceBackend(loaded[0]), loaded[1], observations, planner) for planner in ("ar", "d2f")}


def traced(whole=True):
    """As ``compile``, without generating code: traced, and refused if anything cannot be traced."""
    runner = CompiledRunner()
    runner.compile = lambda work: torch.compile(work, backend="eager", fullgraph=whole)
    return runner


@pytest.mark.parametrize("planner", ["ar", "d2f"])
@pytest.mark.parametrize("pad", [False, True], ids=["fused", "widened"])
def test_backends_agree(loaded, observations, eager, pad, planner):
    got = decide(InferenceBackend(loaded[0], "fused", EagerRunner(pad=pad)), loaded[1], observations, planner)
    want = eager[planner]
    assert got["words"].tokens == want["words"].tokens
    assert got["words"].forwards == want["words"].forwards
    assert all(torch.equal(a, b) for a, b in zip(*(vars(x["layout"]).values() for x in (got, want)), strict=True))
    assert (got["states"] - want["states"]).abs().max() < 1e-4
    for name in ("points", "ee", "joined", "pick_place"):
        assert got[name].shape == want[name].shape
        assert (got[name] - want[name]).abs().max() < BOUND


def test_chunks_can_be_compiled(loaded, observations):
    model, processor = loaded
    inputs = processor(observations[:1])
    prefix = model.encode(inputs)
    attended = ActionContext.from_predictions(
        pick_place_prediction.predict_pick_place(
            model, prefix, pick_place_prediction.subtask_from_tokens(model, prefix, [[70, 71]], processor.start)
        )
    )
    given = attended, inputs.state, torch.zeros(1, 4), 1, torch.randn(1, 16, 7)
    assert (
        InferenceBackend(model, "compile", traced()).sample_ee_chunk(*given)
        - InferenceBackend(model).sample_ee_chunk(*given)
    ).abs().max() < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("planner", ["ar", "d2f"])
def test_whole_decisions_can_be_compiled(loaded, observations, planner):
    model, processor = loaded
    want = decide(InferenceBackend(model), processor, observations[:1], planner)
    whole = planner == "ar" or sys.version_info >= (3, 12)  # before, a canvas's cached properties take a lock
    got = decide(InferenceBackend(model, "compile", traced(whole)), processor, observations[:1], planner)
    assert got["words"].tokens == want["words"].tokens
    for name in ("points", "ee", "joined", "pick_place"):
        assert (got[name] - want[name]).abs().max() < BOUND


@pytest.mark.parametrize("planner", ["ar", "d2f"])
def test_no_pass_goes_by_the_host(loaded, observations, planner):
    runner = Capturing()
    decide(InferenceBackend(loaded[0], "fused", runner), loaded[1], observations, planner)
    assert runner.passes == {
        "encode",
        "decode_token" if planner == "ar" else "diffusion_step",
        "predict_pick_place",
        "ee",
        "pick_place",
    }


@pytest.mark.parametrize("work", [lambda x: x.new_tensor([1.0]), lambda x: x if x.any() else -x, lambda x: x[x > 0]])
def test_what_goes_by_the_host_is_noticed(work):
    with Captured(), pytest.raises(AssertionError, match="goes by the host"):
        work(torch.ones(3))


def test_given_actions_stand(loaded, observations, eager):
    joined, ee = eager["ar"]["joined"], eager["ar"]["ee"]
    got = decide(InferenceBackend(loaded[0], "fused"), loaded[1], observations, "ar")["joined"]
    assert (got[:, :4] - ee[:, :4] - 0.001).abs().max() < BOUND
    assert (joined[:, 4:] - ee[:, 4:]).abs().max() > 3 * BOUND  # and what follows goes on from them


def test_the_last_layer_runs_the_rows_asked_for(loaded):
    decoder = loaded[0].decoder
    lean = FusedDecoder(decoder)
    tokens, places = torch.randn(2, 9, decoder.config.hidden_size), torch.arange(9).expand(2, -1)
    allowed = torch.ones(2, 1, 9, 9, dtype=torch.bool).tril()
    whole, cache = lean.run(tokens, allowed, places)
    want = decoder(inputs_embeds=tokens, position_ids=places).last_hidden_state
    assert (whole - want).abs().max() < 1e-4
    keep = torch.tensor([[0, 8], [3, 4]])
    part, same = lean.run(tokens, allowed, places, keep=keep)
    assert (part - whole.gather(1, keep[..., None].expand(-1, -1, whole.shape[2]))).abs().max() < 1e-4
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(sum(cache, ()), sum(same, ()), strict=True))
    past = [(k[:, :, :6], v[:, :, :6]) for k, v in cache]
    later, _ = lean.run(tokens[:, 6:], allowed[:, :, 6:], places[:, 6:], past)
    assert (later - whole[:, 6:]).abs().max() < 1e-4


def test_decoders_that_are_not_known_are_refused(loaded):
    from transformers import AutoModel, GPTNeoXConfig

    small = GPTNeoXConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    with pytest.raises(UserError, match="decoders of type gpt_neox"):
        FusedDecoder(AutoModel.from_config(small))


def test_padding_is_not_seen(loaded, observations):
    model, processor = loaded
    fast = InferenceBackend(model, "fused")
    prefix = fast.encode(processor(observations))
    words = pick_place_prediction.subtask_from_tokens(model, prefix, [[70, 71], [70], []], processor.start)
    pointed = fast.predict_pick_place(prefix, words)
    attended = ActionContext.from_predictions(pointed)
    assert (~attended.valid).any()
    given = processor(observations).state, torch.zeros(3, 4), 2, torch.randn(3, 16, 7)
    before = fast.sample_ee_chunk(attended, *given)
    cache = [tuple(torch.where(attended.valid[:, None, :, None], x, 9.0) for x in pair) for pair in attended.cache]
    assert torch.allclose(fast.sample_ee_chunk(dataclasses.replace(attended, cache=cache), *given), before, atol=1e-6)
    seen = pointed.layout.kind[attended.valid]
    assert not (seen == int(TokenType.PAD)).any()


def test_pictures_travel_as_bytes_and_arrive_the_same(loaded, observations):
    upload = DeviceTransfer(loaded[1], torch.device("cpu"))
    first = upload(observations[:1])
    for batch in (observations, observations[1:], observations[:1]):
        want = loaded[1](batch)
        got = upload(batch)
        assert all(torch.equal(a, b) for a, b in zip(vars(got).values(), vars(want).values(), strict=True))
    assert torch.equal(first.state, loaded[1](observations[:1]).state)  # later ones did not write over it


def test_unknown_backends_are_named(loaded):
    with pytest.raises(UserError, match="no backend 'tensorrt'"):
        InferenceBackend(loaded[0], "tensorrt")
    with pytest.raises(UserError, match=r"policy.backend cannot be 'tensorrt'"):
        LoHoVLAPolicyConfig(backend="tensorrt")
    assert [LoHoVLAPolicyConfig(backend=backend).backend for backend in BACKENDS] == list(BACKENDS)


def test_sizes():
    assert [next_power_of_two(n) for n in (1, 2, 3, 8, 9)] == [1, 2, 4, 8, 16]
    assert [round_up(n, 8) for n in (1, 8, 9)] == [8, 8, 16]
    assert padded_shapes(torch.zeros(3, 4, 5), 4, {2: 32}) == (4, 4, 32)


def test_a_tree_is_rebuilt_by_names_whatever_is_missing_in_it():
    words, first = WordTensors(tokens=torch.zeros(3, 4), valid=torch.ones(3, 4), order=torch.full((3, 4), 2.0)), None
    tensors, rebuilt = tensors_of((words, first))
    assert [float(x[0, 0]) for x in tensors] == [0.0, 1.0, 2.0]
    again, nothing = rebuilt([x + 5 for x in tensors])
    assert (float(again.tokens[0, 0]), float(again.order[0, 0]), nothing) == (5.0, 7.0, None)
    assert shapes_of((padded_shapes(words, 4, {1: 8}), None)) == [(4, 8)] * 3
