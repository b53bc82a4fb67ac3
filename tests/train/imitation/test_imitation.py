"""``lohovla train dataset=...`` on a small set: what it learns, goes on with, freezes and refuses."""

import json

import numpy as np
import pytest
import torch
from point_world import COLORS, PointWorld, train_words, write_dataset
from safetensors.torch import load_file

from lohovla.cli import main
from lohovla.errors import UserError
from lohovla.model.checkpoint import load_robot_checkpoint
from lohovla.model.configuration import LoHoVLAConfig
from lohovla.policies.base import Context
from lohovla.policies.registry import make_policy


@pytest.fixture(scope="session")
def points(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("points") / "set", 12, 10)


@pytest.fixture(scope="session")
def with_subtasks(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("subtasks") / "set", 12, 10, subtasks=True)


@pytest.fixture(scope="session")
def trained(points, tmp_path_factory):
    """Two steps: a dry run that goes through everything."""
    out = tmp_path_factory.mktemp("dry") / "out"
    assert main(train_words(points, out, "steps=2")) == 0
    return out


def curve(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{n: v for n, v in row.items() if n not in ("steps_per_second", "data_wait")} for row in rows]


def test_a_dry_run_writes_all_that_a_long_one_does(trained):
    model, processor = load_robot_checkpoint(trained / "checkpoint")
    assert model.config.cameras == ["top"]
    assert processor.features.action_names == ("dx", "dy")
    assert not processor.subtasks_known
    figures = json.loads((trained / "held_out.json").read_text())
    assert figures.keys() == {"action", "keyframe", "progress", "error/dx", "error/dy"}
    assert (trained / "open_loop.png").read_bytes()[:4] == b"\x89PNG"


def test_the_open_loop_plot_is_in_the_curves(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(trained / "tensorboard"))
    board.Reload()
    (shown,) = board.Images("imitation/validation/open_loop")
    assert shown.step == 2
    assert shown.width > 500


def test_actions_relative_to_the_state(points, tmp_path, capsys):
    words = ("steps=2", "recipe.model.relative_actions={dx: x}")
    assert main(train_words(points, tmp_path / "out", *words)) == 0
    _, processor = load_robot_checkpoint(tmp_path / "out" / "checkpoint")
    assert processor.representation.relative == {"dx": "x"}
    learned, whole = (processor.features.statistics[name]["std"] for name in ("learned_action", "action"))
    assert learned[0] != pytest.approx(whole[0], rel=0.05)
    assert json.loads((tmp_path / "out" / "held_out.json").read_text()).keys() >= {"error/dx", "error/dy"}
    assert main(train_words(points, tmp_path / "out", "steps=4", *words[1:])) == 0  # it goes on in the same numbers
    capsys.readouterr()
    assert main(train_words(points, tmp_path / "all", "steps=2", "recipe.model.relative_actions=all")) == 2
    assert "relative_actions=all finds no number" in capsys.readouterr().err


def test_what_is_learned_is_said_first(points, tmp_path, capsys):
    assert main(train_words(points, tmp_path / "out", "steps=1")) == 0
    said = capsys.readouterr().err
    assert "sub-tasks: none" in said
    assert "million weights" in said


def test_a_run_that_was_stopped_goes_on_to_the_same_curve(points, tmp_path):
    words = ("log_every=1", "validate_every=0", "save_seconds=0.0")
    assert main(train_words(points, tmp_path / "whole", "steps=4", *words)) == 0
    assert main(train_words(points, tmp_path / "parts", "steps=4", "lr=0.001", *words)) == 0
    whole, parts = (load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)  # the same settings give the same weights
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")


def test_more_steps_are_asked_for_and_said(points, tmp_path, capsys):
    assert main(train_words(points, tmp_path / "out", "steps=2")) == 0
    capsys.readouterr()
    assert main(train_words(points, tmp_path / "out", "steps=4")) == 0
    assert "imitation: 2 -> 4 steps, of which 2 are done" in capsys.readouterr().err
    assert [row["step"] for row in curve(tmp_path / "out") if "loss" not in row][-1] == 4


def test_frozen_parts_stay_as_they_are(points, trained, tmp_path):
    init = f"init={trained / 'checkpoint'}"
    assert main(train_words(points, tmp_path / "out", "steps=2", init, "freeze=[vision,language]")) == 0
    before, after = (load_file(f / "checkpoint" / "model.safetensors") for f in (trained, tmp_path / "out"))
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"experts", "camera_summary", "state_entry", "keyframe_head"}


def test_only_the_action_head_is_trained(points, trained, tmp_path):
    init = f"init={trained / 'checkpoint'}"
    assert main(train_words(points, tmp_path / "out", "steps=2", init, "train_expert_only=true")) == 0
    before, after = (load_file(f / "checkpoint" / "model.safetensors") for f in (trained, tmp_path / "out"))
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == {
        "experts",
        "camera_summary",
    }


def test_accumulated_batches_are_of_one_step(points, tmp_path):
    assert main(train_words(points, tmp_path / "out", "steps=2", "accumulate=2", "log_every=1")) == 0
    assert [row["step"] for row in curve(tmp_path / "out") if "loss" in row] == [1, 2]


def test_sub_tasks_are_learned_where_there_are_some(with_subtasks, tmp_path):
    words = ("steps=2", "log_every=1", "recipe.imitation.hide_subtask=0.5", "recipe.model.max_prefix=2")
    assert main(train_words(with_subtasks, tmp_path / "out", *words)) == 0
    rows = [row for row in curve(tmp_path / "out") if "loss" in row]
    assert all(row["text/ar"] > 0 and row["text/d2f"] > 0 for row in rows)
    _, processor = load_robot_checkpoint(tmp_path / "out" / "checkpoint")
    assert processor.subtasks_known


def said(words, capsys):
    """The two lines of a refusal."""
    assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("lohovla:", "         "))]
    assert len(lines) == 2
    return lines[0].removeprefix("lohovla: ")


def test_a_camera_that_the_checkpoint_reads_is_called_otherwise(trained, tmp_path, capsys):
    other = write_dataset(tmp_path / "other" / "set", 2, 6, camera="front")
    words = train_words(other, tmp_path / "out", "steps=1", f"init={trained / 'checkpoint'}")
    assert main(words) == 2
    assert "rename={front: top}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "rename={front:top}"]) == 0


def test_a_checkpoint_of_the_block_world_is_no_start(points, tmp_path, capsys):
    words = train_words(points, tmp_path / "out", "steps=1", "init=nano")
    assert "has no features of a robot" in said(words, capsys)


@pytest.mark.parametrize(
    ("word", "cause"),
    [
        ("freeze=[eyes]", "freeze has no part 'eyes'"),
        ("freeze=[vision,language,state,keyframes,action]", "freeze names every part"),
        ("recipe=nano", "the recipe does not learn from data sets"),
        ("dataset=nowhere", "there is no folder nowhere"),
        ("dataset=[]", "dataset is an empty list"),
        ("dataset_weights=[1,2]", "2 dataset_weights for 1 data sets"),
    ],
)
def test_what_cannot_be(points, tmp_path, capsys, word, cause):
    words = train_words(points, tmp_path / "out", "steps=1")
    if word == "recipe=nano":
        words = [w for w in words if not w.startswith("recipe.")]
    words = [w for w in words if w.partition("=")[0] != word.partition("=")[0]]
    assert cause in said([*words, word], capsys)
    assert not (tmp_path / "out").exists()


def test_other_statistics_of_new_data_are_told(points, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(PointWorld, "expert", lambda self: np.array([0.9, 0.9], np.float32))
    other = write_dataset(tmp_path / "other" / "set", 4, 6)
    assert main(train_words(other, tmp_path / "out", "steps=1", f"init={trained / 'checkpoint'}")) == 0
    assert "action dx: mean" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("subtasks", [False, True], ids=["sentences", "sub-tasks"])
def test_it_learns_to_go_where_the_words_say(tmp_path, subtasks):
    """From pictures and words alone, in 30 unseen scenes; with black pictures it does not."""
    root = write_dataset(tmp_path / "set", 400, 12, subtasks=subtasks)
    words = ("steps=1500", "batch_size=32", "lr=0.002", "recipe.imitation.hide_subtask=0.4")
    assert main(train_words(root, tmp_path / "out", *words)) == 0
    assert solved(tmp_path / "out" / "checkpoint", subtasks) >= 21
    assert solved(tmp_path / "out" / "checkpoint", subtasks, blank=True) <= 6


def solved(checkpoint, subtasks, blank=False):
    world = PointWorld()
    policy = make_policy("lohovla", type("Env", (), {"unwrapped": world})(), checkpoint=str(checkpoint))
    count = 0
    for seed in range(10001, 10061, 2):
        seen = world.reset(seed)
        policy.reset(seed)
        for step in range(0, 40, 4):
            if subtasks:  # the square is named by the sub-task, which the goal does not tell: either counts
                seen["instruction"] = "Go on."
            if blank:
                seen["images.top"][:] = 0
            for action in policy.act(seen, Context(step=step)).actions[:4]:
                seen = world.step(action)
        reached = [np.abs(world.squares[color] - world.tip).max() < 0.08 for color in COLORS]
        count += any(reached) if subtasks else reached[list(COLORS).index(world.target)]
    return count


def test_a_prefix_that_does_not_fit_the_chunk_is_refused_with_both_settings():
    with pytest.raises(UserError, match=r"max_prefix=6 does not go with chunk_size=1") as error:
        LoHoVLAConfig(chunk_size=1, max_prefix=6)
    assert "recipe.model.max_prefix=0" in error.value.remedy
    assert "recipe.model.chunk_size" in error.value.remedy
