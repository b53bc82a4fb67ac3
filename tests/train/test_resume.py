"""A stage that is gone on with by other settings: the change is told in one line, or it is refused."""

import json
import os
import resource
import subprocess
import sys
from itertools import pairwise

import pytest
from safetensors import safe_open

from lohovla.cli import main
from lohovla.errors import UserError
from lohovla.model.checkpoint import load_checkpoint, save_checkpoint
from lohovla.output_folder import lock_folder
from lohovla.settings.hydra_config import compose
from lohovla.train.metrics_logger import METRICS
from lohovla.train.recipe import Run
from lohovla.train.resume import TrainingInputs, resumed
from lohovla.train.training_stages import Stage
from lohovla.train.training_state import facts_of

TASK = "pick-and-place-primitive"


def rates(folder):
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return {row["step"]: row["rate"] for row in rows if "rate" in row}


@pytest.fixture
def see(make_tiny, trainer, tmp_path, capsys):
    """Trains ``see`` on, with a new model each time; returns the lines that it said, without its bar."""

    def run(steps, **settings):
        model, processor = make_tiny()
        trainer(model, processor, "detector", steps, log_every=1, **settings).run()
        return [line for line in capsys.readouterr().err.splitlines() if "step/s" not in line and "s/step" not in line]

    return run


def test_more_steps_go_on_from_the_rate_that_stands_and_it_is_told(see, tmp_path):
    assert see(12) == []
    (line,) = see(24)
    assert line.startswith("detector: 12 -> 24 steps, of which 12 are done; the learning rate rises from ")
    found = rates(tmp_path)
    assert sorted(found) == list(range(1, 25))
    assert max(found[step + 1] / found[step] for step in range(12, 24)) <= 1.5 + 1e-3
    assert max(found[step] for step in range(13, 25)) > 2 * found[12]  # the further steps teach something
    (line,) = see(24)
    assert line == "detector: all 24 steps are done"


def test_fewer_steps_than_are_done_are_told(see, tmp_path):
    see(6)
    before = (tmp_path / "detector" / "state.safetensors").read_bytes()
    (line,) = see(4)
    assert (
        line
        == "detector: 6 steps are done and 4 are asked for, so none is trained; recipe.stages.detector.steps=7 goes on"
    )
    assert (tmp_path / "detector" / "state.safetensors").read_bytes() == before


def test_what_was_begun_anew_goes_on_alike_after_a_kill(see, tmp_path, make_tiny, trainer, capsys):
    """The way from one schedule to the other does not begin again with each interruption."""

    class Kill(Exception):
        pass

    def killed(step, folder):
        model, processor = make_tiny()
        one = trainer(model, processor, "detector", 40, log_every=1, folder=folder)
        train = one._step

        def die(batch, number):
            if number == step:
                raise Kill
            return train(batch, number)

        one._step = die
        with pytest.raises(Kill):
            one.run()
        capsys.readouterr()

    see(12, folder=tmp_path / "once")
    see(12, folder=tmp_path / "often")
    for step in (13, 14, 16):
        killed(step, tmp_path / "often")
    assert see(40, folder=tmp_path / "often") == []
    see(40, folder=tmp_path / "once")
    assert rates(tmp_path / "often") == rates(tmp_path / "once")


def test_another_rate_batch_mixture_or_seed_is_told_in_one_line(see, few, tmp_path, capsys, trainer, make_tiny):
    def stopped(**settings):
        model, processor = make_tiny()
        one = trainer(model, processor, "detector", 6, **settings)
        one._train = lambda start: None
        one.run()
        return capsys.readouterr().err.splitlines()

    see(4)
    (line,) = stopped(lr=1e-3)
    assert line.startswith("detector: 4 -> 6 steps, lr 0.01 -> 0.001, of which 4 are done; the learning rate ")
    object.__setattr__(few, "weights", {TASK: 2.0})
    object.__setattr__(few, "seed", 8)
    steps, line = stopped(batch=3)
    assert "4 -> 6 steps" in steps
    assert line == (
        f"detector: from step 5 on recipe.stages.detector.batch 2 -> 3, data.seed 0 -> 8, "
        f"data.weights.{TASK} null -> 2.0; that leaves the learning rate as it is"
    )


def test_every_setting_that_decides_what_is_learned_is_kept_with_the_state(see, tmp_path):
    see(1)
    settings = compose("train", ["recipe=nano"])
    named = facts_of(tmp_path / "detector")["settings"]
    for name in settings.data:
        # `workers` decides who draws, not what; the mixture and the noise are told a part each.
        assert name in ("workers", "weights", "noise") or f"data.{name}" in named
    for name in {name for stage in settings.recipe.stages.values() for name in stage} - {"steps", "lr", "weights"}:
        assert f"recipe.stages.detector.{name}" in named
    assert {"precision", "processes"} <= named.keys()


def recipe(folder, *overrides):
    words = ["stage=detector", "device=cpu", "data.overfit=2", "data.workers=0", f"data.tasks=[{TASK}]", "log_every=1"]
    own = ["validate_episodes=0", "norms_every=0", f"output={folder}", "recipe.stages.detector.batch=2"]
    return [*words, *own, *overrides]


@pytest.fixture
def begun(make_tiny, tmp_path):
    """A checkpoint to begin from, and a folder with a stage that was begun from it."""
    save_checkpoint(*make_tiny(), tmp_path / "tiny")
    folder = tmp_path / "run"
    assert main(["train", *recipe(folder, "recipe.stages.detector.steps=2", f"init={tmp_path / 'tiny'}")]) == 0
    return tmp_path / "tiny", folder


def test_a_stage_does_not_go_on_on_other_weights(begun, capsys, make_tiny, tmp_path):
    """What the stage does not move came from the checkpoint that it was begun from."""
    tiny, folder = begun
    save_checkpoint(*make_tiny(seed=1), tmp_path / "other")
    said = (folder / "config.yaml").read_text()
    capsys.readouterr()
    assert main(["train", *recipe(folder, "recipe.stages.detector.steps=4", f"init={tmp_path / 'other'}")]) == 2
    cause, remedy = capsys.readouterr().err.splitlines()[-2:]
    assert f"was begun with init={tiny}, not {tmp_path / 'other'}" in cause
    assert f"give init={tiny} again" in remedy
    assert (folder / "config.yaml").read_text() == said  # what the folder was made with
    # The checkpoint there holds the stage with all that it was trained on.
    assert main(["train", *recipe(folder, "recipe.stages.detector.steps=4")]) == 0


def test_another_model_than_the_checkpoints_is_refused(begun, capsys):
    tiny, folder = begun
    for where, words in ((tiny, [f"init={tiny}"]), (folder / "checkpoint", [])):
        config = compose("train", recipe(folder, *words))
        config.recipe.model = {"stem_dim": 24, "stem_width": 8}
        with pytest.raises(UserError, match=f"{where} was made with recipe.model.stem_dim=16, not 24"):
            Run(config, folder)


def test_the_shipped_recipes_are_those_of_their_models():
    """A recipe's own model is no change of it."""
    from lohovla.model.checkpoint import check_model_settings

    model, _ = load_checkpoint()
    check_model_settings(model, compose("train", ["recipe=nano"]).recipe.model, "nano")


def test_a_damaged_state_is_refused_before_anything_is_written(begun, capsys):
    _, folder = begun
    said = (folder / "config.yaml").read_text()
    (folder / "detector" / "state.safetensors").write_bytes(b"12")
    capsys.readouterr()
    assert main(["train", *recipe(folder, "recipe.stages.detector.steps=9")]) == 2
    answer = capsys.readouterr()
    assert answer.out == ""
    assert "state.safetensors is damaged" in answer.err
    assert (folder / "config.yaml").read_text() == said


def test_two_trainings_in_one_folder_are_refused(begun, capsys):
    _, folder = begun
    said = (folder / "config.yaml").read_text()
    held = lock_folder(folder, "training")
    capsys.readouterr()
    assert main(["train", *recipe(folder, "recipe.stages.detector.steps=9")]) == 2
    answer = capsys.readouterr()
    cause, remedy = answer.err.splitlines()
    assert cause == f"lohovla: another training is writing to {folder}"
    assert "output=FOLDER" in remedy
    assert answer.out == ""
    assert (folder / "config.yaml").read_text() == said
    held.close()


@pytest.mark.parametrize(
    "words",
    [
        ["data.tasks=[K]"],
        ["validate_tasks=[Z]"],
        ["data.seed=1"],
        ["init=nowhere"],
        ["recipe=vanilla", "init=nano", "stage=planning"],
    ],
)
def test_what_is_refused_leaves_nothing_and_says_nothing_else(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for output in ([], ["output=here"]):
        assert main(["train", "device=cpu", *words, *output]) == 2
        answer = capsys.readouterr()
        assert len(answer.err.splitlines()) == 2
        assert answer.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_tasks_weight_may_be_any_number():
    for name in compose("train", []).data.weights:
        assert compose("train", [f"data.weights.{name}=1.5"]).data.weights[name] == 1.5
        assert compose("train", [f"data.weights.{name}=2"]).data.weights[name] == 2


def test_a_full_disk_ends_training_in_two_lines_and_it_goes_on_afterwards(begun):
    tiny, folder = begun
    words = [*recipe(folder, "recipe.stages.detector.steps=8", "save_seconds=0", f"init={tiny}")]
    state = (folder / "detector" / "state.safetensors").read_bytes()

    def limited(size, wanted):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: E731
        answer = subprocess.run(
            [sys.executable, "-m", "lohovla.cli", "train", *words],
            capture_output=True,
            text=True,
            preexec_fn=limit,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert answer.returncode == 2, answer.stderr
        assert "Traceback" not in answer.stderr
        cause, remedy = answer.stderr.splitlines()[-2:]
        assert cause == f"lohovla: cannot write to {folder}: File too large"
        assert remedy.strip() == wanted

    limited(len(state) // 2, f"make room and run again with output={folder} to go on")  # no state can be written
    assert (folder / "detector" / "state.safetensors").read_bytes() == state
    assert load_checkpoint(folder / "checkpoint")
    limited(100, "make room there, or choose another place with output=FOLDER")
    assert not list(folder.rglob("*.part"))
    assert len(rates(folder)) >= 2
    assert main(["train", *words]) == 0
    assert sorted(rates(folder)) == list(range(1, 9))
    with safe_open(folder / "detector" / "state.safetensors", "pt") as file:
        assert json.loads(file.metadata()["facts"])["step"] == 8
    assert all(1 / 1.5 < b / a < 1.51 for a, b in pairwise(list(rates(folder).values())[2:5]))


def test_a_run_with_the_old_name_of_its_stage_is_gone_on_with(trainer, tmp_path, make_tiny):
    trainer(*make_tiny(), "detector", 2, log_every=1).run()
    (tmp_path / "detector").rename(tmp_path / "see")
    log = tmp_path / "metrics.jsonl"
    log.write_text(log.read_text().replace('"stage": "detector"', '"stage": "see"'))
    again = trainer(*make_tiny(), "detector", 3, log_every=1)
    again.run()
    assert facts_of(tmp_path / "see")["step"] == 3
    assert not (tmp_path / "detector").exists()
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2, 3]


def test_settings_of_a_state_are_compared_by_their_new_names():
    stage = Stage("detector", 4)
    found = {"step": 2, "steps": 4, "lr": stage.lr, "turn": None, "settings": {"recipe.stages.see.fresh": 0.25}}
    made = TrainingInputs({"recipe.stages.detector.new_sample_fraction": 0.5}, {})
    (line,) = resumed(stage, found, made)[1]
    assert "from step 3 on recipe.stages.detector.new_sample_fraction 0.25 -> 0.5;" in line
