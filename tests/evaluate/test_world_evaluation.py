"""Policies in other projects' environments: what is carried out, what is counted, and what is written down."""

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from lohovla.cli import main
from lohovla.envs.worlds import shared
from lohovla.envs.worlds.world import World
from lohovla.evaluate.episode_log import read_rows
from lohovla.evaluate.episode_runner import run_batch
from lohovla.evaluate.report.world_table import world_json, world_results, world_table
from lohovla.evaluate.world_episodes import WorldEpisodeGroup, WorldEpisodeRunner, play_world_group
from lohovla.evaluate.world_protocol import instructions_of
from lohovla.policies.base import Decision, Policy, PolicySpec

MARK = "Move the point to the mark"


class TowardsMark(Policy):
    """Goes for the mark by what it sees, in chunks; it may draw what it sees of pictures."""

    def __init__(self, env, length=4, strength=8.0, over=""):
        self.spec = PolicySpec(("state", "images.top"), env.control, env.action_space.shape, length, env.control_hz)
        self._length, self._strength, self._over = length, strength, over
        self.asked = []

    def act_batch(self, observations, contexts):
        self.asked.append([(context.slot, context.step, context.reward) for context in contexts])
        return [self.act(one, context) for one, context in zip(observations, contexts, strict=True)]

    def act(self, observation, context):
        assert observation["images.top"].shape == (16, 24, 3)
        away = observation["state"][2:] - observation["state"][:2]
        actions = []
        for _ in range(self._length):
            step = np.clip(self._strength * away, -5, 5)
            away = away - 0.1 * np.clip(step, -1, 1)
            actions.append(step)
        planned = context.step == 0
        return Decision(np.array(actions, np.float32), "go", planned, over=self._over if context.step else "")


@pytest.fixture(autouse=True)
def _closed():
    yield
    shared._opened.cache_clear()
    from lohovla.evaluate import world_episodes

    world_episodes._policy.cache_clear()


def run(world, policy, seeds=(10001, 10003, 10005)):
    plays = [WorldEpisodeRunner(world.episode(slot), "point", seed, MARK) for slot, seed in enumerate(seeds)]
    for play in plays:
        policy.reset(play.seed, play.slot)
    run_batch(plays, policy)
    return plays


def test_whole_chunks_are_carried_out_before_the_policy_is_asked_again(tiny_world):
    policy = TowardsMark(tiny_world)
    plays = run(tiny_world, policy)
    results = [play.result() for play in plays]
    assert all(result.success and result.reason == "success" for result in results)
    for slot, result in enumerate(results):
        steps = [step for asked in policy.asked for at, step, _ in asked if at == slot]
        assert steps == [4 * number for number in range(len(steps))]
        assert result.decisions == len(steps)
        assert 4 * (len(steps) - 1) < result.steps <= 4 * len(steps)
        assert result.subtasks == ["go"]
    assert policy.asked[0] == [(0, 0, 0.0), (1, 0, 0.0), (2, 0, 0.0)]
    assert all(reward < 0 for asked in policy.asked[1:] for _, _, reward in asked)


def test_episode_ends_with_the_first_success(tiny_world):
    (play,) = run(tiny_world, TowardsMark(tiny_world, length=30), seeds=(10001,))
    assert play.result().steps < 30
    assert len(play.executed) == play.result().steps


def test_results_do_not_depend_on_the_company(tiny_world):
    together = [play.result() for play in run(tiny_world, TowardsMark(tiny_world))]
    alone = [run(tiny_world, TowardsMark(tiny_world), seeds=(seed,))[0].result() for seed in (10001, 10003, 10005)]
    assert together == alone


def test_actions_beyond_the_limits_are_clipped_and_counted(tiny_world):
    (play,) = run(tiny_world, TowardsMark(tiny_world, strength=80.0), seeds=(10001,))
    assert np.abs(play.executed).max() == 1.0
    assert play.result().clamped > 0


def test_policy_may_end_the_episode(tiny_world):
    (play,) = run(tiny_world, TowardsMark(tiny_world, over="done"), seeds=(10001,))
    result = play.result()
    assert (result.success, result.reason, result.steps) == (False, "the policy said done", 4)
    assert result.failure == "the policy said done after 4 actions"


def test_episode_that_runs_out_fails_and_leaves_its_last_picture(tiny_world_settings):
    settings = {**tiny_world_settings, "max_steps": 6}
    played = play_world_group(WorldEpisodeGroup(settings, "point", MARK, (10001, 10003), "random", {}))
    assert [row["reason"] for row in played.rows] == ["action limit"] * 2
    assert sorted(played.pictures) == [10001, 10003]
    assert played.actions[10001].shape == (6, 2)


def test_words_of_others(tiny_world_settings):
    world = World(tiny_world_settings)
    assert instructions_of(world, ["point"], "own") == {"point": MARK}
    assert instructions_of(world, ["point"], "shuffled") == {"point": "Do it again"}
    assert instructions_of(world, ["point", "again"], "shuffled") == {"point": "Do it again", "again": MARK}
    assert instructions_of(world, ["point"], "Open the drawer") == {"point": "Open the drawer"}


def rows_of(*groups):
    return [
        {"task": task, "group": group, "success": number < good, "steps": 10}
        for task, group, good, of in groups
        for number in range(of)
    ]


def test_groups_count_the_same_whatever_their_size():
    rows = rows_of(("a", "easy", 9, 10), ("b", "easy", 7, 10), ("c", "hard", 2, 10))
    results = world_results(rows, ["easy", "medium", "hard"])
    assert results.groups["easy"].rate == 0.8
    assert list(results.groups) == ["easy", "hard"]
    assert results.mean is not None
    mean, low, high = results.mean
    assert mean == pytest.approx(0.5)
    assert results.overall.rate == 0.6
    widest = (results.groups["hard"].high - results.groups["hard"].low) / 2
    assert 0.25 < high - low < 2 * widest
    header, lines = world_table(results, {"a": "easy", "b": "easy", "c": "hard"})
    assert header[:3] == ["group", "task", "success %"]
    assert [line[:3] for line in lines] == [
        ["easy", "a", "90.0"],
        ["easy", "b", "70.0"],
        ["hard", "c", "20.0"],
        ["easy", "all of the group", "80.0"],
        ["hard", "all of the group", "20.0"],
        ["", "mean over groups", "50.0"],
        ["", "all 30 episodes", "60.0"],
    ]
    assert world_json(results)["mean_over_groups"]["rate"] == pytest.approx(0.5)


def test_world_without_groups_has_no_mean():
    results = world_results(rows_of(("a", "", 3, 4)), [])
    assert results.mean is None
    assert not results.groups


@pytest.fixture
def tiny_words(tiny_world_settings):
    """A command line's words for the tiny world."""
    given = {"env": "PointOnMark-v0", "module": "tiny_world", "expert": "tiny_world:expert", "max_steps": 40}
    given |= {"name": "tiny", "cameras": "{top: views/top}", "state": "agent", "kwargs": "{render_mode: rgb_array}"}
    given |= {"tasks": "{point: Move the point to the mark, again: Do it again}"}
    return ["world=gymnasium", *(f"world.{key}={value}" for key, value in given.items())]


def test_command_writes_results_goes_on_and_films(tmp_path, tiny_words, capsys):
    folder = tmp_path / "run"
    line = ["evaluate", *tiny_words, "policy=expert", "episodes=4", "workers=1", "videos=2", f"output={folder}"]
    assert main(line) == 0
    first = (folder / "episodes.jsonl").read_bytes()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["overall"]["episodes"] == 8
    assert 0 < summary["overall"]["successes"] <= 8
    assert "all 8 episodes" in capsys.readouterr().out
    assert "<video" in (folder / "report.html").read_text()
    films = sorted(folder.glob("videos/*.mp4"))
    assert len(films) == 2
    with av.open(str(films[0])) as film:
        assert sum(1 for _ in film.decode(video=0)) > 20
    assert len(read_rows(folder)) == 8

    lines = first.splitlines(keepends=True)
    (folder / "episodes.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])  # a kill within a line
    assert main(line) == 0
    assert (folder / "episodes.jsonl").read_bytes() == first

    assert main([*line, "world.max_steps=39"]) == 2
    assert "was made with world.max_steps=40, not 39" in capsys.readouterr().err
    assert main([*line, f"world.python={sys.executable}"]) == 0  # where the world runs is no matter


def test_runs_in_a_world_are_compared(tmp_path, tiny_words, capsys):
    for name in ("expert", "random"):
        line = [f"policy={name}", "tasks=[point]", "episodes=4", "workers=1", "videos=0", f"output={tmp_path / name}"]
        assert main(["evaluate", *tiny_words, *line]) == 0
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "random"), str(tmp_path / "expert"), f"output={tmp_path / 'both'}"]) == 0
    said = capsys.readouterr().out
    assert "expert against random, 4 shared episodes" in said
    assert "policy.name" in said


def test_command_collects_for_training(tmp_path, tiny_words, capsys):
    root = tmp_path / "set"
    line = ["collect", *tiny_words, "task=[point,again]", "episodes=2", "workers=1", f"dataset={root}"]
    assert main([*line, "policy=expert"]) == 0
    assert "4 episodes" in capsys.readouterr().out
    assert main(line) == 2
    assert "tiny is shown by its own expert" in capsys.readouterr().err
    assert main(["collect", "policy=expert", f"dataset={tmp_path / 'other'}"]) == 2
    assert "policy=oracle is its teacher" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["tasks=[pont]"], "tiny has no task 'pont'"),
        (["tasks=[]"], "tasks is an empty list"),
        (["diagnose=true"], "diagnose=true is for the block world"),
        (["policy=oracle"], "policy=oracle is for the block world"),
        (["policy=expert", "world.expert=null"], "needs a world that brings an expert"),
        (["world.env=Nothing-v0"], "NameNotFound"),
        (["world.env=null"], "world.env names no environment"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_anything_is_written(tmp_path, tiny_words, capsys, change, said):
    folder = tmp_path / "run"
    assert main(["evaluate", *tiny_words, "policy=random", "episodes=1", "workers=1", f"output={folder}", *change]) == 2
    said_there = capsys.readouterr().err
    assert said in said_there
    assert "Traceback" not in said_there
    assert not Path(folder).exists()
