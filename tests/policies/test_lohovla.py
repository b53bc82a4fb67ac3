"""The LoHoVLA policy's rules, on a tiny untrained core whose plans are written by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lohovla.envs.env import BlocksEnv
from lohovla.errors import UserError
from lohovla.model.inference import pick_place_prediction, subtask_decoding
from lohovla.model.language.token_trie import TokenTrie
from lohovla.model.processor import Processor
from lohovla.policies import subgoal_source
from lohovla.policies.base import Context
from lohovla.policies.lohovla import LoHoVLAPolicy, LoHoVLAPolicyConfig
from lohovla.train.vocabulary import composed_subtask_parts

SENTENCES = [f"Pick up the {color} block and place it on the table." for color in ("red", "green", "blue", "yellow")]


def observation(seed, gripper=0.0):
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.integers(0, 255, (10, 20, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    state = rng.normal(size=13).astype(np.float32)
    state[6] = gripper
    goals = ("Stack all the blocks.", "Put the blocks in the bowls with matching colors.")
    return {
        "images.top": picture,
        "depth.top": rng.random((160, 320)).astype(np.float32) * 0.05,
        "state": state,
        "instruction": goals[seed % 2],
    }


@pytest.fixture
def make(tiny):
    """Makes a policy of the tiny core."""

    def policy(control="pick_place", **rules):
        env = BlocksEnv("pick-and-place-primitive", control=control, cameras={})
        return LoHoVLAPolicy(env, *tiny, LoHoVLAPolicyConfig(**rules))

    return policy


@pytest.fixture
def scripted(tiny, monkeypatch):
    """Plans are SENTENCES in turn."""
    processor = tiny[1]
    asked = []

    def plan(model, prefix, start, end, grammar=None, **_):
        rows = prefix.state.shape[0]
        said = [SENTENCES[(len(asked) + row) % len(SENTENCES)] for row in range(rows)]
        asked.extend(said)
        tokens = [processor.tokenizer.encode(text, add_special_tokens=False) for text in said]
        return pick_place_prediction.subtask_from_tokens(model, prefix, tokens, start)

    monkeypatch.setattr(subtask_decoding, "decode_autoregressive", plan)
    return asked


def run(policy, rewards):
    policy.reset(1)
    return [policy.act(observation(0), Context(step=k, reward=reward)) for k, reward in enumerate(rewards)]


@pytest.mark.parametrize(
    ("replan", "planned"),
    # The reward belongs to the action before: the fourth action succeeds.
    [("never", "1000100000"), ("always", "1111111111"), ("after_k_failures", "1001100100")],
)
def test_when_a_new_subtask_is_planned(make, scripted, replan, planned):
    decisions = run(make(replan=replan, max_subtask_failures=2), [0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0])
    assert "".join(str(int(decision.planned)) for decision in decisions) == planned
    expected = np.cumsum([int(digit) for digit in planned]) - 1
    assert [decision.subtask for decision in decisions] == [SENTENCES[k % 4] for k in expected]


def refused(policy, monkeypatch):
    """What each plan is told not to say, in sentences."""
    told, subtask_constraints = [], policy.planner.decoder.constraints

    def of(objects, row, without=(), goal=None):
        told.append([policy.processor.sentence(words) for words in without])
        return subtask_constraints.everything

    monkeypatch.setattr(policy.planner.decoder.constraints, "for_scene", of)
    return told


def test_what_was_given_up_is_not_said_again_until_something_succeeds(make, scripted, monkeypatch):
    policy = make(replan="always")
    told = refused(policy, monkeypatch)
    run(policy, [0, 0, 0, 0.5, 0])
    assert told == [[], SENTENCES[:1], SENTENCES[:2], [], [SENTENCES[3]]]


def test_it_may_be_said_again_where_that_is_asked_for(make, scripted, monkeypatch):
    policy = make(replan="always", exclude_failed=False)
    told = refused(policy, monkeypatch)
    run(policy, [0, 0, 0])
    assert told == [[], [], []]


def test_patience_gives_up_only_after_failures(make, scripted, monkeypatch):
    policy = make(replan="after_k_failures", max_subtask_failures=2)
    told = refused(policy, monkeypatch)
    run(policy, [0] * 5)
    assert told == [[], SENTENCES[:1]]


def test_only_what_the_scene_allows_is_said(make, tiny, monkeypatch):
    processor = tiny[1]
    policy = make(grammar="scene")
    only = TokenTrie([processor.tokenizer.encode(SENTENCES[2], add_special_tokens=False)], processor.end)
    monkeypatch.setattr(policy.planner.decoder.constraints, "for_scene", lambda *_: only)
    assert run(policy, [0])[0].subtask == SENTENCES[2]


@pytest.mark.parametrize("grammar", ["all", "none"])
def test_the_scene_need_not_be_asked(make, monkeypatch, grammar):
    policy = make(grammar=grammar)
    given, plan = [], subtask_decoding.decode_autoregressive
    monkeypatch.setattr(
        subtask_decoding, "decode_autoregressive", lambda *args, **more: given.append(args[4]) or plan(*args, **more)
    )
    run(policy, [0])
    assert given == ([[policy.planner.decoder.constraints.everything]] if grammar == "all" else [None])


def test_block_diffusion_is_said_again_word_by_word_only_where_it_may_not_be_said(make, tiny, monkeypatch):
    processor = tiny[1]
    tokens = {text: processor.tokenizer.encode(text, add_special_tokens=False) for text in SENTENCES}
    nonsense = tokens[SENTENCES[0]][:3]
    monkeypatch.setattr(
        subtask_decoding,
        "decode_block_diffusion",
        lambda model, prefix, start, *_, **__: pick_place_prediction.subtask_from_tokens(
            model, prefix, [nonsense, tokens[SENTENCES[1]]], start
        ),
    )
    asked = []

    def again(model, prefix, start, *_, **__):
        asked.append(len(prefix.state))
        return pick_place_prediction.subtask_from_tokens(
            model, prefix, [tokens[SENTENCES[2]]] * len(prefix.state), start
        )

    monkeypatch.setattr(subtask_decoding, "decode_autoregressive", again)
    said = {}
    for grammar in ("all", "none"):
        policy = make(planner="d2f", grammar=grammar)
        for slot in range(2):
            policy.reset(slot, slot)
        decisions = policy.act_batch([observation(0), observation(1)], [Context(slot=0), Context(slot=1)])
        said[grammar] = [decision.subtask for decision in decisions]
    assert said["all"] == [SENTENCES[2], SENTENCES[1]]
    assert asked == [1]
    assert said["none"][1] == SENTENCES[1]
    assert said["none"][0] not in SENTENCES


@pytest.mark.parametrize("planner", ["ar", "d2f"])
def test_only_rows_that_are_due_are_planned(make, monkeypatch, planner):
    """And they say, and do, what they would in a batch of their own."""
    planned = []
    name = {"ar": "decode_autoregressive", "d2f": "decode_block_diffusion"}[planner]
    plan = getattr(subtask_decoding, name)
    monkeypatch.setattr(
        subtask_decoding,
        name,
        lambda model, prefix, *rest, **more: (
            planned.append(prefix.state[:, 0].tolist()) or plan(model, prefix, *rest, **more)
        ),
    )
    rules = {"planner": planner, "grammar": "all" if planner == "ar" else "none", "replan": "never"}
    together, alone = make(**rules), make(**rules)
    seen = [observation(slot) for slot in range(4)]
    states = [float(one["state"][0]) for one in seen]
    for rewards, due in (([0] * 4, [0, 1, 2, 3]), ([0, 0.5, 0, 0.5], [1, 3]), ([0] * 4, []), ([0.5, 0, 0, 0], [0])):
        contexts = [Context(reward=reward, slot=slot) for slot, reward in enumerate(rewards)]
        if due == [0, 1, 2, 3]:
            for slot in due:
                together.reset(slot, slot)
                alone.reset(slot, slot)
        planned.clear()
        both = together.act_batch(seen, contexts)
        assert planned == ([pytest.approx([states[row] for row in due])] if due else [])
        for one, other in zip(both, map(alone.act, seen, contexts), strict=True):
            assert one.subtask == other.subtask
            np.testing.assert_allclose(one.actions, other.actions, atol=1e-4)
    assert len({one.subtask for one in both}) > 1, "the rows say the same, which proves little"


def test_failures_must_be_in_a_row(make, scripted):
    decisions = run(make(replan="after_k_failures", max_subtask_failures=1), [0, 0, 0.2, 0, 0, 0])
    assert [decision.planned for decision in decisions] == [True, False, True, False, True, False]


def test_with_progress_from_the_model_rewards_do_not_count(make, scripted, tiny, monkeypatch):
    logits = iter([-3.0, 3.0, -3.0])
    monkeypatch.setattr(tiny[0].progress, "forward", lambda *_: torch.tensor([next(logits)]))
    decisions = run(make(progress="model", replan="never"), [0, 1.0, 0, 1.0])
    assert [decision.planned for decision in decisions] == [True, False, True, False]
    assert [decision.progress for decision in decisions[1:]] == pytest.approx([0.047426, 0.952574, 0.047426], abs=1e-4)


@pytest.mark.parametrize("control", ["pick_place", "ee"])
@pytest.mark.parametrize(
    "rules",
    [{}, {"planner": "d2f"}, {"subtasks": "none"}, {"subtasks": "image"}, {"subtasks": "text+image"}],
    ids=lambda rules: "-".join(rules.values()),
)
def test_a_batch_decides_as_each_would_alone(make, control, rules, tiny, monkeypatch):
    monkeypatch.setattr(tiny[0].config, "trained_stages", ["autoencoder", "subgoal"])
    together, alone = make(control, **rules), make(control, **rules)
    for slot in (0, 1):
        together.reset(10 + slot, slot)
        alone.reset(10 + slot, slot)
    rewards = {0: [0, 0.5, 0], 1: [0, 0, 0]}
    for step in range(3):
        seen = [observation(2 * step + slot) for slot in (0, 1)]
        contexts = [Context(step=step, reward=rewards[slot][step], slot=slot) for slot in (0, 1)]
        for both, one in zip(together.act_batch(seen, contexts), map(alone.act, seen, contexts), strict=True):
            assert both.subtask == one.subtask
            assert both.planned == one.planned
            assert both.progress == pytest.approx(one.progress, abs=1e-4)
            np.testing.assert_allclose(both.actions, one.actions, atol=1e-4)
            first = 8 if control == "ee" else 1  # of a chunk; the rules say how many are carried out
            assert both.actions.shape == (first, *together.spec.action_shape)


def test_a_reset_forgets_one_slot_and_leaves_the_other(make, scripted):
    policy = make(replan="never")
    for slot in (0, 1):
        policy.reset(slot, slot)
    first = policy.act_batch([observation(0)] * 2, [Context(slot=0), Context(slot=1)])
    policy.reset(0, 0)
    second = policy.act_batch([observation(0)] * 2, [Context(slot=0), Context(step=1, slot=1)])
    assert [decision.planned for decision in second] == [True, False]
    assert second[1].subtask == first[1].subtask


def test_the_seed_decides_the_actions(make):
    policy = make(replan="never")
    drawn = []
    for seed in (1, 1, 2):
        policy.reset(seed)
        drawn.append(policy.act(observation(0), Context()).actions)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_ee_looks_again_when_the_tool_is_back_or_time_is_up(make, scripted):
    policy = make("ee", replan="always", subtask_timeout=8.0)
    policy.reset(0)
    home = policy._home

    def decide(step, gripper, away):
        seen = observation(0, gripper)
        seen["state"][:3] = home + away
        return policy.act(seen, Context(step=step)).planned

    assert decide(0, 0.0, 0.0)
    assert not decide(10, 0.0, 0.0)  # at home still, nothing was gripped
    assert not decide(20, 1.0, 0.2)
    assert not decide(30, 0.0, 0.2)  # let go, on its way back
    assert decide(40, 0.0, 0.01)
    assert not decide(40 + 159, 1.0, 0.2)
    assert decide(40 + 160, 1.0, 0.2)  # 8 s at 20 Hz


@pytest.mark.parametrize(
    "rules",
    [
        {"subtasks": "x"},
        {"planner": "x"},
        {"replan": "x"},
        {"progress": "x"},
        {"num_inference_steps": 0},
        {"max_subtask_failures": -1},
    ],
)
def test_bad_rules_are_named(rules):
    with pytest.raises(UserError, match=next(iter(rules))):
        LoHoVLAPolicyConfig(**rules)


def test_chunks_are_for_20_hz_whatever_the_worlds_rate(tiny):
    env = BlocksEnv("pick-and-place-primitive", control="ee", control_hz=100.0, cameras={})
    assert LoHoVLAPolicy(env, *tiny, LoHoVLAPolicyConfig()).spec.control_hz == 20.0


def test_in_real_time_the_last_commands_tell_how_the_tool_moves(make, scripted):
    """And the given beginning stands, unless another sub-task begins."""

    def chunk(step, prefix=None):
        scripted.clear()  # the same sentence each time
        policy = make("ee")
        policy.reset(1)
        commanded = np.zeros((2, 7), np.float32)
        commanded[1, 0] = step
        context = Context(commanded=commanded)
        plan = policy.plan(observation(0), context)
        return policy.chunk(observation(0), context, plan, prefix, 0 if prefix is None else 3).actions

    assert np.abs(chunk(0.05) - chunk(0.0)).max() > 1e-4
    np.testing.assert_array_equal(chunk(0.05), chunk(0.05))
    prefix = np.full((8, 7), 0.25, np.float32)
    np.testing.assert_array_equal(chunk(0.0, prefix)[:3], prefix[:3])


@pytest.mark.parametrize(("subtasks", "words", "picture"), [("text", 1, 0), ("image", 0, 1), ("text+image", 1, 1)])
def test_what_is_acted_on_is_what_the_rule_names(make, scripted, tiny, monkeypatch, subtasks, words, picture):
    """Other words, or another picture of the end, change where it points only where they are to be heeded."""
    monkeypatch.setattr(tiny[0].config, "trained_stages", ["autoencoder", "subgoal"])
    imagine = subgoal_source.generate_subgoal
    ends = {k: torch.rand(1, 4, 160, 320, generator=torch.Generator().manual_seed(k)) for k in (0, 1)}

    def acts(said, painted):
        scripted.clear()
        scripted.extend([""] * said)
        monkeypatch.setattr(
            subgoal_source,
            "generate_subgoal",
            lambda *args, **more: replace(imagine(*args, **more), picture=ends[painted]),
        )
        return run(make(subtasks=subtasks), [0])[0].actions

    plain = acts(0, 0)
    np.testing.assert_array_equal(acts(0, 0), plain)
    assert np.array_equal(acts(1, 0), plain) != bool(words)
    assert np.array_equal(acts(0, 1), plain) != bool(picture)


def test_a_picture_is_kept_until_the_next_subtask(make, scripted, tiny, monkeypatch):
    monkeypatch.setattr(tiny[0].config, "trained_stages", ["autoencoder", "subgoal"])
    decisions = run(make(subtasks="image", replan="never"), [0, 0, 0.5])
    assert [decision.planned for decision in decisions] == [True, False, True]
    np.testing.assert_array_equal(decisions[0].subgoal, decisions[1].subgoal)
    assert not np.array_equal(decisions[1].subgoal, decisions[2].subgoal)


def test_who_knows_no_subtasks_acts_from_the_goal_alone(make_tiny):
    env = BlocksEnv("pick-and-place-primitive", control="pick_place", cameras={})
    core = make_tiny(use_subtasks=False)
    with pytest.raises(UserError, match="trained without sub-tasks"):
        LoHoVLAPolicy(env, *core, LoHoVLAPolicyConfig())
    assert run(LoHoVLAPolicy(env, *core, LoHoVLAPolicyConfig(subtasks="none")), [0])[0].subtask == ""


def test_who_cannot_paint_cannot_act_on_pictures(make):
    with pytest.raises(UserError, match="generates no sub-goal pictures"):
        make(subtasks="image")


def test_imagined_ends_come_with_new_subtasks_and_change_no_action(make, scripted, tiny, monkeypatch):
    monkeypatch.setattr(tiny[0].config, "trained_stages", ["autoencoder", "subgoal"])
    plain = run(make(), [0] * 4)
    scripted.clear()
    policy = make(generate_subgoals=True)
    assert "subgoal" in policy.spec.emits
    shown = run(policy, [0] * 4)
    assert all(one.subgoal is None for one in plain)
    assert [one.planned for one in shown] == [True, False, True, False]
    assert all(one.subgoal.shape == (160, 320, 3) and one.subgoal.dtype == np.uint8 for one in shown)
    assert np.array_equal(shown[0].subgoal, shown[1].subgoal)
    assert not np.array_equal(shown[0].subgoal, shown[2].subgoal)
    assert ["imagine" in one.timing for one in shown] == [True, False, True, False]
    for one, other in zip(plain, shown, strict=True):
        assert one.subtask == other.subtask
        np.testing.assert_array_equal(one.actions, other.actions)


def test_an_imagined_end_does_not_depend_on_other_episodes(make, scripted, tiny, monkeypatch):
    monkeypatch.setattr(tiny[0].config, "trained_stages", ["autoencoder", "subgoal"])
    policy = make(generate_subgoals=True)
    seen = [observation(0), observation(1)]
    for slot in (0, 1):
        policy.reset(slot, slot)
    together = policy.act_batch(seen, [Context(slot=0), Context(slot=1)])
    scripted.clear()
    policy.reset(0, 0)
    alone = policy.act(seen[0], Context(slot=0))
    assert alone.subtask == together[0].subtask
    apart = np.abs(alone.subgoal.astype(int) - together[0].subgoal)
    assert apart.max() <= 2


def test_a_model_that_cannot_paint_says_so(make):
    with pytest.raises(UserError, match="generates no sub-goal pictures"):
        make(generate_subgoals=True)


@pytest.fixture
def saying(tiny, monkeypatch):
    """Plans are what the list holds, in turn."""
    processor, texts = tiny[1], []

    def plan(model, prefix, start, end, grammar=None, **_):
        said = [texts.pop(0) for _ in range(prefix.state.shape[0])]
        tokens = [processor.tokenizer.encode(text, add_special_tokens=False) for text in said]
        return pick_place_prediction.subtask_from_tokens(model, prefix, tokens, start)

    monkeypatch.setattr(subtask_decoding, "decode_autoregressive", plan)
    return texts


@pytest.mark.parametrize("realtime", [False, True])
def test_who_may_stop_says_that_all_is_done_and_then_moves_nothing(make, saying, realtime):
    policy = make("ee", replan="always", allow_done=True, grammar="all", subtask_timeout=1.0)
    policy.reset(0)
    saying += [SENTENCES[0], "Done."]
    seen = observation(0)
    if realtime:
        assert policy.plan(seen, Context()).over == ""
    decision = policy.act(seen, Context())
    assert decision.over == ""
    last = policy.act(seen, Context(step=20))
    assert (last.subtask, last.over, last.planned) == ("Done.", "done", True)
    np.testing.assert_array_equal(last.actions, np.tile(seen["state"][:7], (8, 1)))


def test_without_leave_to_stop_nothing_ends(make, saying):
    policy = make("ee", grammar="none")
    policy.reset(0)
    saying += ["Done."]
    assert policy.act(observation(0), Context()).over == ""


@pytest.mark.parametrize("realtime", [False, True])
def test_who_can_do_nothing_says_so(make, saying, monkeypatch, realtime):
    policy = make("ee", allow_done=True)
    policy.reset(0)
    done = policy.processor.tokenizer.encode("Done.", add_special_tokens=False)
    only = TokenTrie([], policy.processor.end, [done])
    monkeypatch.setattr(policy.planner.decoder.constraints, "for_scene", lambda *_: only)
    saying += ["Done."]
    decision = (policy.plan if realtime else policy.act)(observation(0), Context())
    assert (decision.subtask, decision.over) == ("Nothing can be done.", "nothing")


def test_who_says_why_nothing_can_be_done_ends_with_that_sentence(make, saying):
    policy = make("ee", allow_done=True)
    parts = {**policy.processor.statistics["subtasks"], "missing": composed_subtask_parts()["missing"]}
    processor = Processor(policy.processor.tokenizer, statistics={"subtasks": parts}, max_subtask=60)
    policy.planner.decoder.constraints = processor.subtask_constraints()
    policy.reset(0)
    saying += ["There is no purple bowl."]
    decision = policy.act(observation(0), Context())
    assert (decision.subtask, decision.over) == ("There is no purple bowl.", "nothing")


def test_a_slow_arm_has_the_time_that_its_way_takes(make, scripted):
    policy = make("ee", replan="always", subtask_timeout=8.0)

    def planned(step, velocity):
        seen = observation(0, 1.0)
        seen["state"][:3] = policy._home + 0.2
        return policy.act(seen, Context(step=step, velocity=velocity)).planned

    for velocity in (np.inf, 1.5, 0.05):
        policy.reset(0)
        assert planned(0, velocity)
        way = policy._episodes[0].path_length
        assert 0.6 < way < 5.0
        allowed = max(8.0, 2.0 * way / velocity)
        assert allowed > 24.0 if velocity == 0.05 else allowed == 8.0
        assert not planned(int(20 * allowed) - 1, velocity)
        assert planned(int(20 * allowed) + 1, velocity)
