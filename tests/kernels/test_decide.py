"""A whole decision in one: the same as pass by pass, in real scenes, whatever the checkpoint says of them."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from lohovla.benchmarks.model import decision
from lohovla.envs.env import BlocksEnv
from lohovla.evaluate.protocol import seeds_of, tasks_of
from lohovla.evaluate.subgoal.subgoal_image_metrics import cases
from lohovla.model.backends.graph_runners import EagerRunner
from lohovla.model.backends.inference_backend import InferenceBackend
from lohovla.model.backends.single_graph import (
    ALWAYS_REPLAN,
    NEVER_REPLAN,
    DecisionConfig,
    DecisionInputs,
    pad_subtask_tokens,
)
from lohovla.model.checkpoint import load_checkpoint
from lohovla.model.inference import action_sampling, pick_place_prediction
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.policies.base import Context
from lohovla.policies.lohovla import LoHoVLAPolicy
from lohovla.policies.policy_config import LoHoVLAPolicyConfig

from .capture import Capturing, graphs

BOUND = 3e-5  # metres and radians
CONTROLS = ["ee", "pick_place"]


@pytest.fixture(scope="module")
def loaded():
    return load_checkpoint(None)


@pytest.fixture(scope="module")
def observations():
    """Of every sub-task of an episode each of six tasks."""
    found = cases(tasks_of("", ["A", "B", "C", "D", "E", "K"]), seeds_of("val", 1))
    return [case.observation for case in found]


def whole(processor, control="ee", **more):
    return DecisionConfig(processor.start, processor.end, processor.mask, control, 3, **more)


def noise_of(model, control, rows):
    return action_sampling.sample_action_noise(
        model, control, [torch.Generator().manual_seed(row) for row in range(rows)]
    )


def asked_of(model, control, rows):
    return DecisionInputs.for_first_subtasks(model, torch.full((rows, 4), 0.01), noise_of(model, control, rows))


def by_passes(model, processor, inputs, how, asked, words=None):
    """What the eager passes give: the words, where they point, the chunks."""
    fast = InferenceBackend(model)
    prefix = fast.encode(inputs)
    if words is None:
        words = fast.decode_block_diffusion(prefix, how.start, how.end, how.mask, how.accept)
    else:
        words = pick_place_prediction.subtask_from_tokens(model, prefix, words, how.start)
    attended = ActionContext.from_predictions(fast.predict_pick_place(prefix, words))
    if how.control == "pick_place":
        return words, attended.points, fast.sample_pick_place(attended, how.steps, asked.noise), prefix
    chunk = fast.sample_ee_chunk(attended, inputs.state, asked.motion, how.steps, asked.noise, asked.prefix)
    return words, attended.points, chunk, prefix


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("pad", [False, True], ids=["plain", "widened"])
@torch.no_grad()
def test_it_is_the_passes_one_after_the_other(loaded, observations, control, pad):
    model, processor = loaded
    fast, how = InferenceBackend(model, "fused", EagerRunner(pad=pad)), whole(processor, control, forwards=20)
    assert len(observations) > 12
    for first in range(0, len(observations), 4):
        some = observations[first : first + 4]
        inputs, asked = processor(some), asked_of(model, control, len(some))
        words, points, chunk, prefix = by_passes(model, processor, inputs, how, asked)
        made = fast.decide_in_one_pass(how, inputs, asked)
        assert made.replanned.all()
        assert made.complete.all()
        assert made.token_lists(how.end) == words.tokens
        assert (made.action_context.points - points).abs().max() < BOUND
        assert made.action.shape == chunk.shape
        assert (made.action - chunk).abs().max() < BOUND
        assert (made.initial_features - model.progress.sample_features(prefix.seen, points)).abs().max() < 1e-3
        again = (
            fast.sample_pick_place(made.action_context, 3, asked.noise)
            if control == "pick_place"
            else fast.sample_ee_chunk(made.action_context, inputs.state, asked.motion, 3, asked.noise)
        )
        assert (again - chunk).abs().max() < BOUND  # later chunks of the sub-task go on from it


@pytest.mark.parametrize(("accept", "count"), [(0.9, 5), (1.0, 1)], ids=["published", "one-by-one"])
@torch.no_grad()
def test_it_says_where_words_are_not_complete(loaded, observations, accept, count):
    model, processor = loaded
    fast, found = InferenceBackend(model, "fused"), set()
    for observation, forwards in itertools.product(observations[:count], (1, 2, 3)):
        inputs, how = processor([observation]), whole(processor, forwards=forwards, accept=accept)
        asked = asked_of(model, "ee", 1)
        made = fast.decide_in_one_pass(how, inputs, asked)
        words, points, _, _ = by_passes(model, processor, inputs, how, asked)
        complete = bool(made.complete)
        found.add(complete)
        assert complete == (words.forwards <= forwards)
        if complete:
            assert made.token_lists(how.end) == words.tokens
        # Where it is not, one goes on from its prefix.
        prefix = made.encoded_observation()
        later = fast.decode_block_diffusion(prefix, how.start, how.end, how.mask, accept)
        assert later.tokens == words.tokens
        assert (fast.predict_pick_place(prefix, later).points - points).abs().max() < BOUND
    assert False in found


@torch.no_grad()
def test_subtasks_under_way_go_on_unless_they_seem_done(loaded, observations):
    model, processor = loaded
    some, fast, how = observations[:4], InferenceBackend(model, "fused"), whole(processor, forwards=20)
    inputs, asked = processor(some), asked_of(model, "ee", 4)
    fresh, points, _, prefix = by_passes(model, processor, inputs, how, asked)
    asked.points, asked.initial_features = points, model.progress.sample_features(prefix.seen, points) + 0.3
    asked.prefix = torch.full((4, 2, 7), 0.2)
    chances = torch.sigmoid(
        model.progress(asked.initial_features, model.progress.sample_features(prefix.seen, points), points)
    )
    other = [*fresh.tokens[1:], fresh.tokens[0][:2]]
    asked.previous_tokens = pad_subtask_tokens(model, other, how.end)
    asked.replan_threshold = torch.tensor(
        [ALWAYS_REPLAN, NEVER_REPLAN, float(chances[2]) - 0.01, float(chances[3]) + 0.01]
    )
    made = fast.decide_in_one_pass(how, inputs, asked)
    assert (made.progress - chances).abs().max() < 1e-4
    assert made.replanned.tolist() == [True, False, True, False]
    words = [own if new else old for own, old, new in zip(fresh.tokens, other, made.replanned, strict=True)]
    assert made.token_lists(how.end) == words
    _, points, joined, _ = by_passes(model, processor, inputs, how, asked, words)
    asked.prefix = None
    _, _, free, _ = by_passes(model, processor, inputs, how, asked, words)
    chunk = torch.where(made.replanned[:, None, None], free, joined)  # only those that go on continue what was begun
    assert (made.action_context.points - points).abs().max() < BOUND
    assert (made.action - chunk).abs().max() < BOUND
    assert (joined - free).abs().max() > 10 * BOUND
    asked.replan_threshold = torch.full((4,), NEVER_REPLAN)
    assert fast.decide_in_one_pass(how, inputs, asked).complete.all()  # nothing is to be said


@pytest.mark.parametrize("control", CONTROLS)
@torch.no_grad()
def test_nothing_in_it_goes_by_the_host(loaded, observations, control):
    model, processor = loaded
    runner, how = Capturing(), whole(processor, control)
    asked = asked_of(model, control, 3)
    asked.prefix = torch.zeros(3, 2, 7) if control == "ee" else None
    InferenceBackend(model, "fused", runner).decide_in_one_pass(how, processor(observations[:3]), asked)
    assert runner.passes == {"decide"}


@torch.no_grad()
def test_a_graph_of_it_serves_all_that_fits_its_sizes(loaded, observations, monkeypatch):
    """Recorded on the first observation and replayed on others, it gives what it would have given them itself."""
    model, processor = loaded
    runner, tapes = graphs(monkeypatch)
    fast, how = InferenceBackend(model, "fused", runner), whole(processor, forwards=3)
    goals = (
        "put the red block in the bowl",
        "stack all the blocks",
        "put the blocks in the bowls with matching colors",
    )
    for observation, goal in zip(observations, goals, strict=False):
        inputs = processor([{**observation, "instruction": goal}])
        asked = asked_of(model, "ee", 1)
        made, want = (
            fast.decide_in_one_pass(how, inputs, asked),
            InferenceBackend(model, "fused").decide_in_one_pass(how, inputs, asked),
        )
        assert made.token_lists(how.end) == want.token_lists(how.end)
        assert torch.equal(made.complete, want.complete)
        assert (made.action - want.action).abs().max() < BOUND
        again = fast.decode_block_diffusion(made.encoded_observation(), how.start, how.end, how.mask)
        assert again.tokens == by_passes(model, processor, inputs, how, asked)[0].tokens
    sizes = {-(-processor([{**observations[0], "instruction": goal}]).goal.shape[1] // 8) for goal in goals}
    assert len(tapes) == len(sizes) + len({key for key in runner._graphs if key[0].startswith("diffusion_step")})
    assert len([key for key in runner._graphs if key[0].startswith("decide")]) == len(sizes) < len(goals)


def test_the_benchmark_compares_it_with_the_passes(capsys):
    record = decision.run(None, ["A", "B"], 1, None)
    assert record["differing"] == 0
    assert record["apart"] < BOUND
    assert set(record["steps"]) == {"pick-and-place-primitive", "put-block-into-matching-bowl"}
    counts = Counter(record["steps"]["put-block-into-matching-bowl"])
    assert counts.total() > 1
    assert f"| put-block-into-matching-bowl | {counts.total()} | " in capsys.readouterr().out


def test_shares_are_of_all_subtasks():
    counts = Counter({1: 1, 2: 2, 5: 1})
    assert [decision.said_in(counts, n) for n in (1, 2, 4, 5)] == [0.25, 0.75, 0.75, 1.0]


# -- the policy -----------------------------------------------------------------------------------------------


def policy_of(loaded, control="pick_place", in_one=True, **rules):
    env = BlocksEnv("pick-and-place-primitive", control=control, cameras={})
    made = LoHoVLAPolicy(
        env, *loaded, LoHoVLAPolicyConfig(backend="fused" if in_one else "eager", planner="d2f", **rules)
    )
    assert not made._backend.prefers_single_graph  # without a GPU
    made._backend.prefers_single_graph = in_one
    return made


def play(policy, observations, rewards, slots=1):
    """Decisions, each of ``slots`` observations; and which were made in one."""
    for slot in range(slots):
        policy.reset(slot, slot)
    made = []
    for step, reward in enumerate(rewards):
        seen = [observations[(step + 3 * slot) % len(observations)] for slot in range(slots)]
        contexts = [Context(step=200 * step, reward=reward * (slot == 0), slot=slot) for slot in range(slots)]
        made.append(policy.act_batch(seen, contexts))
    return made, [["decide" in one.timing and "plan" not in one.timing for one in turn] for turn in made]


def same(one, other):
    assert one.subtask == other.subtask
    assert one.planned == other.planned
    assert one.progress == pytest.approx(other.progress, abs=1e-4)
    np.testing.assert_allclose(one.actions, other.actions, atol=BOUND)


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(
    "rules", [{}, {"grammar": "none"}, {"progress": "model"}, {"replan": "always"}], ids=lambda r: "-".join(r.values())
)
def test_the_policy_decides_as_it_does_pass_by_pass(loaded, observations, control, rules):
    rewards = [0, 1, 0, 0, 1, 0]
    got, in_one = play(policy_of(loaded, control, **rules), observations, rewards, 2)
    want, _ = play(policy_of(loaded, control, False, **rules), observations, rewards, 2)
    for one, other in zip(itertools.chain(*got), itertools.chain(*want), strict=True):
        same(one, other)
    assert any(map(any, in_one))


@pytest.mark.parametrize("why", ["incomplete", "refused"])
def test_the_policy_goes_on_pass_by_pass_where_that_does_not_hold(loaded, observations, monkeypatch, why):
    policy, other = policy_of(loaded, grammar="all"), policy_of(loaded, in_one=False, grammar="all")
    if why == "incomplete":
        policy._decision_config = dataclasses.replace(policy._decision_config, forwards=0)
    else:
        only = policy.processor.subtask_constraints().everything
        methods = {"allowed_next": only.allowed_next, "__contains__": lambda self, words: False}
        refusing = type("Refusing", (), methods)()
        for one in (policy, other):
            monkeypatch.setattr(one.planner.decoder.constraints, "everything", refusing)
    got, in_one = play(policy, observations, [0, 1, 1])
    want, _ = play(other, observations, [0, 1, 1])
    assert not any(map(any, in_one))
    for one, two in zip(itertools.chain(*got), itertools.chain(*want), strict=True):
        same(one, two)


def test_nothing_is_said_where_no_subtask_can_be_due(loaded, observations, monkeypatch):
    policy = policy_of(loaded, grammar="none", replan="never")
    asked = []
    decide = policy._backend.decide_in_one_pass
    monkeypatch.setattr(policy._backend, "decide_in_one_pass", lambda *given: asked.append(given) or decide(*given))
    play(policy, observations[:1], [0, 0, 0, 1])
    assert len(asked) == 2


@pytest.mark.parametrize("rules", [{"planner": "ar"}, {"subtasks": "none"}, {"generate_subgoals": True}])
def test_what_cannot_be_in_one_is_not(loaded, observations, rules):
    env = BlocksEnv("pick-and-place-primitive", control="pick_place", cameras={})
    policy = LoHoVLAPolicy(env, *loaded, LoHoVLAPolicyConfig(**{"backend": "fused", "planner": "d2f", **rules}))
    policy._backend.prefers_single_graph = True
    assert play(policy, observations, [0])[1] == [[False]]


def test_in_real_time_a_beginning_is_continued_or_not_as_the_subtask_is(loaded, observations):
    prefix = np.full((6, 7), 0.25, np.float32)

    def chunks(in_one):
        policy = policy_of(loaded, "ee", in_one, progress="model")
        policy.reset(1)
        made = []
        for step in range(4):
            context = Context(step=200 * step, commanded=np.zeros((2, 7), np.float32))
            plan = policy.plan(observations[0], context) if not step else None
            made.append(policy.chunk(observations[step], context, plan, prefix, 3))
        return made

    for one, other in zip(chunks(True), chunks(False), strict=True):
        same(one, other)


def test_a_bad_observation_draws_no_noise(loaded, observations):
    policy, bad = policy_of(loaded), {**observations[0], "state": np.full(13, np.nan)}
    policy.reset(1)
    with pytest.raises(Exception, match="finite"):
        policy.act(bad, Context())
    after = policy.act(observations[0], Context())
    policy.reset(1)
    np.testing.assert_array_equal(after.actions, policy.act(observations[0], Context()).actions)
