"""The shipped checkpoint still does what it was shipped for."""

import pytest
import torch

from lohovla.collect.rendered_scenes import scene_env
from lohovla.envs.env import BlocksEnv
from lohovla.evaluate.episode_runner import EpisodeRunner, run_batch
from lohovla.evaluate.evaluation_worker import EpisodeGroup, play_group
from lohovla.evaluate.realtime_episodes import RealtimeEpisodes
from lohovla.model.checkpoint import NANO, load_checkpoint
from lohovla.policies.base import Context
from lohovla.policies.registry import make_policy


def solved(task, control, seeds, **settings):
    envs = [scene_env(task, control) for _ in seeds]
    policy = make_policy("lohovla", envs[0], **settings)
    plays = [EpisodeRunner(env, seed, slot) for slot, (env, seed) in enumerate(zip(envs, seeds, strict=True))]
    for play in plays:
        policy.reset(play.seed, play.slot)
    run_batch(plays, policy)
    return [play.result().success for play in plays]


def test_it_puts_blocks_into_bowls_and_onto_blocks():
    assert sum(solved("put-block-into-matching-bowl", "pick_place", range(1, 13, 2))) >= 4
    assert sum(solved("pick-and-place-primitive", "pick_place", range(1, 13, 2))) >= 5


def test_it_solves_primitives_by_continuous_commands():
    """The docs claim 98.5 %: that two of twelve fail happens once in seventy such dozens."""
    assert sum(solved("pick-and-place-primitive", "ee", range(1, 25, 2))) >= 11


@pytest.mark.parametrize("join", ["rtc", "rtc-trained"])
def test_it_solves_primitives_in_real_time_although_its_answers_take_200_ms(join):
    settings = {"control": "ee", "control_hz": 100.0}
    loop = {"clock": "simulated", "delay": {"plan": 0.2, "chunk": 0.2}, "chunking_mode": join}
    realtime = RealtimeEpisodes("lohovla", "pick-and-place-primitive", settings, loop)
    env = BlocksEnv("pick-and-place-primitive", **settings)
    assert sum(realtime.episode(env, seed)[0].success for seed in (1, 3, 5, 7)) >= 3


@pytest.mark.parametrize(
    "limits",
    [
        {"velocity": 0.05},
        {
            "velocity": 0.25,
            "acceleration": 1.5,
            "jerk": 60.0,
            "turn_velocity": 0.8,
            "turn_acceleration": 4.0,
            "turn_jerk": 60.0,
        },
    ],
    ids=["0.05 m/s", "ur5e"],
)
def test_it_solves_primitives_with_an_arm_that_is_slow(limits):
    """The path is stretched in time; one that went on at the policy's own pace never reached the table."""
    settings = {"control": "ee", "control_hz": 100.0, "seconds_per_action": 60.0}
    loop = {"clock": "simulated", "delay": {"plan": 0.2, "chunk": 0.1}, "limits": limits}
    realtime = RealtimeEpisodes("lohovla", "pick-and-place-primitive", settings, loop)
    env = BlocksEnv("pick-and-place-primitive", **settings)
    assert sum(realtime.episode(env, seed)[0].success for seed in (10001, 10003)) == 2


def test_both_planners_say_the_same_of_easy_scenes_and_it_is_right():
    """Block diffusion says by itself what word by word says: in few passes, and what may not be said is not mended."""
    env = scene_env("pick-and-place-primitive")
    policies = [make_policy("lohovla", env, planner=planner, grammar="none") for planner in ("ar", "d2f")]
    said, right, forwards = [], [], []
    for policy in policies:
        plan = policy.planner._backend.decode_block_diffusion
        policy.planner._backend.decode_block_diffusion = lambda *given, plan=plan: (
            forwards.append(plan(*given)) or forwards[-1]
        )
    for seed in range(1, 17, 2):
        observation, _ = env.reset(seed=seed)
        right.append(env.problem.goal.next(env.scene()).text)
        for policy in policies:
            policy.reset(seed)
        said.append([policy.act(observation, Context(world=env)).subtask for policy in policies])
    assert sum(ar == d2f for ar, d2f in said) >= 7
    assert sum(ar == wanted for (ar, _), wanted in zip(said, right, strict=True)) >= 7
    assert len(forwards) == 8  # one planner went this way, and the other did not
    assert sum(words.forwards for words in forwards) <= 8 * 6  # 14 words a sentence


def test_it_does_not_say_that_all_is_done_unless_it_may():
    _, processor = load_checkpoint()
    done = processor.tokenizer.encode("Done.", add_special_tokens=False)
    assert done in processor.subtask_constraints().everything
    assert done not in processor.subtask_constraints(stop=False).everything
    env = scene_env("pick-and-place-primitive")
    for stop in (False, True):
        subtask_constraints = make_policy("lohovla", env, allow_done=stop).planner.decoder.constraints
        assert (done in subtask_constraints.everything) is stop


def test_an_evaluation_is_the_same_whatever_the_number_of_threads():
    cameras = {"top": {"width": 320, "height": 160, "depth": True}}
    group = EpisodeGroup(
        "pick-and-place-primitive", (1, 3, 5), "lohovla", {"control": "pick_place", "cameras": cameras}
    )
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        rows = play_group(group).rows
        assert torch.get_num_threads() == 1
        assert rows == play_group(group).rows
    finally:
        torch.set_num_threads(before)


def test_its_sub_goal_pictures_are_as_good_as_the_move_that_they_start_from():
    """As docs/numbers.md has it: as good, and no better. A head that spoils the move fails; an untrained one not."""
    from lohovla.evaluate.subgoal.subgoal_image_metrics import cases, compare_subgoals
    from lohovla.model.inference.subgoal_generation import SubgoalSamplingConfig

    model, processor = load_checkpoint()
    if "subgoal" not in model.config.trained_stages:
        pytest.skip("the shipped checkpoint was not trained by the stage paint")
    found = list(cases(("put-block-into-matching-bowl", "pick-and-place-primitive"), (1, 3)))
    orders = {"parallel": SubgoalSamplingConfig("parallel"), "raster": SubgoalSamplingConfig("raster", denoise=2)}
    figures = compare_subgoals(model, processor, found, orders)
    for order in orders:
        assert figures[order]["psnr"] == pytest.approx(figures["moved"]["psnr"], abs=1.0)
        assert figures[order]["agreed"] >= figures["moved"]["agreed"] - 0.1  # the stem sees in them the same
    assert figures["moved"]["psnr"] > figures["copy"]["psnr"] + 6  # 11 dB in the docs
    assert figures["moved"]["agreed"] >= 0.8
    assert figures["copy"]["agreed"] < 0.2


def test_it_is_small():
    assert sum(path.stat().st_size for path in NANO.iterdir()) < 20e6
