"""What may be trained on, and what recipes and logs say."""

import json

import pytest
from omegaconf import OmegaConf

from lohovla.collect.ee_trajectories import PlayedMotions
from lohovla.collect.rendered_scenes import LabelledScenes
from lohovla.collect.training_stream import training_tasks
from lohovla.envs.tasks.names import TASKS
from lohovla.envs.tasks.registry import Split, get_task
from lohovla.errors import UserError
from lohovla.settings.hydra_config import compose
from lohovla.train.metrics_logger import METRICS, MetricsLogger
from lohovla.train.recipe import Run

HELD_OUT = [name for name in TASKS if get_task(name).split not in (Split.PRIMITIVE, Split.SEEN, Split.ADDITIONAL)]
HELD_OUT.append("pick-and-place-primitive-with-relative-position")


def recipe(*overrides):
    return OmegaConf.to_container(compose("train", ["device=cpu", *overrides]), resolve=True)


def test_seventeen_tasks_are_trained_on_and_none_is_held_out():
    assert len(training_tasks()) == 17
    assert not set(training_tasks()) & set(HELD_OUT)
    assert len(HELD_OUT) + 17 == len(TASKS)


@pytest.mark.parametrize("name", HELD_OUT)
def test_a_recipe_with_a_held_out_task_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="held out"):
        Run(recipe(f"data.tasks=[{training_tasks()[0]},{name}]"), tmp_path)


@pytest.mark.parametrize("letter", "FGHIJK")
def test_a_recipe_with_a_held_out_letter_is_refused(letter, tmp_path):
    with pytest.raises(UserError, match="held out"):
        Run(recipe(f"data.tasks=[{letter}]"), tmp_path)


@pytest.mark.parametrize(("seed", "cause"), [(1, "not even"), (10001, "not even"), (-1, "at least 0")])
def test_a_recipe_with_an_evaluation_seed_is_refused(seed, cause, tmp_path):
    with pytest.raises(UserError, match=cause):
        Run(recipe(f"data.seed={seed}"), tmp_path)


@pytest.mark.parametrize("kind", [LabelledScenes, PlayedMotions])
def test_samples_refuse_by_themselves(kind):
    for name in HELD_OUT:
        with pytest.raises(UserError, match="held out"):
            kind((name,), 0)
    with pytest.raises(UserError, match="not even"):
        kind(training_tasks()[:1], 10001)


def test_streams_of_all_stages_ranks_and_workers_have_even_seeds(monkeypatch):
    """Whatever is reset is reset with an even seed: neither validation nor test scenes."""
    from lohovla.envs.env import BlocksEnv
    from lohovla.train.batch_source import BatchSource
    from lohovla.train.training_stages import Stage

    seeds = []

    class Enough(Exception):
        pass

    def reset(self, *, seed=None, options=None):
        seeds.append(seed)
        raise Enough

    monkeypatch.setattr(BlocksEnv, "reset", reset)
    for stage in ("detector", "planning", "action"):
        for start, rank in ((0, 0), (7, 1), (1500, 2)):
            with pytest.raises(Enough):
                next(iter(BatchSource(training_tasks(), seed=4).samples(Stage(stage, 1), start, rank, 3)))
    assert [len(set(seeds[k : k + 3])) for k in (0, 3, 6)] == [3, 3, 3]
    assert all(seed % 2 == 0 for seed in seeds)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stage=fly", "no stage 'fly'"),
        ("device=tpu", "device cannot be"),
        ("recipe.stages.detector.steps=0", "at least 1"),
    ],
)
def test_bad_recipes_are_named(override, words, tmp_path):
    with pytest.raises(UserError, match=words):
        Run(recipe(override), tmp_path)


def test_a_journal_writes_means_and_forgets_what_a_kill_undid(tmp_path):
    first = MetricsLogger(tmp_path, "detector", 0, every=2)
    assert [first.note(step, {"loss": value}) for step, value in enumerate((2.0, 4.0, 1.0), 1)][1] == "loss 3.000"
    first.note(4, {"loss": 9.0})
    first.close()
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"stage": "detector", "st')  # torn by the kill
    again = MetricsLogger(tmp_path, "detector", 3, every=2, sums={"loss": [1.0]})
    again.note(4, {"loss": 3.0})
    again.close()
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(2, 3.0), (4, 2.0)]
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_journal_leaves_other_stages_alone(tmp_path):
    MetricsLogger(tmp_path, "detector", 0, every=1).write(100, {"loss": 1.0})
    MetricsLogger(tmp_path, "planning", 0, every=1).write(1, {"loss": 2.0})
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [row["stage"] for row in rows] == ["detector", "planning"]
