"""Stages learn, survive kills, and run on two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lohovla.errors import UserError
from lohovla.train import training_state as state_module
from lohovla.train.learning_rate_schedule import schedule
from lohovla.train.metrics_logger import METRICS
from lohovla.train.training_stages import STAGES, Stage, StageLosses
from lohovla.train.training_state import TrainingState


def curve(folder):
    """What was logged, without the speed."""
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    timed = ("steps_per_second", "data_wait")
    return [{name: value for name, value in row.items() if name not in timed} for row in rows]


@pytest.mark.parametrize(
    ("name", "steps", "share"),
    [
        ("detector", 24, 0.7),
        ("planning", 24, 0.8),
        ("action", 24, 0.9),
        ("autoencoder", 10, 0.8),
        ("subgoal", 24, 0.95),
    ],
)
def test_a_stage_learns_a_handful_by_heart_and_moves_only_its_own(make_tiny, trainer, tmp_path, name, steps, share):
    model, processor = make_tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer(model, processor, name, steps, lr=5e-3, save_seconds=1e9).run()
    rows = curve(tmp_path)
    assert rows[-1]["step"] == steps
    assert sum(row["loss"] for row in rows[-2:]) < share * sum(row["loss"] for row in rows[:2])
    stage = Stage(name, 1)
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved
    assert all(stage.trains(key) for key in moved)


def test_every_weight_belongs_to_one_stage(tiny):
    """``symbolic`` prepares a part of what ``planning`` moves; ``imitation`` is on other data."""
    for name, _ in tiny[0].named_parameters():
        stages = [stage for stage in STAGES if stage != "imitation" and Stage(stage, 1).trains(name)]
        assert len(stages) == 1 or stages == ["symbolic", "planning"], name


def test_a_killed_run_goes_on_to_the_same_curve_and_weights(make_tiny, trainer, tmp_path, monkeypatch):
    whole, processor = make_tiny()
    trainer(whole, processor, "planning", 6, log_every=4, folder=tmp_path / "whole").run()
    killed, _ = make_tiny()
    save = TrainingState.save

    def save_once(self, step, sums=None, write=True):
        if step == 3:
            save(self, step, sums, write)

    monkeypatch.setattr(TrainingState, "save", save_once)
    first = trainer(killed, processor, "planning", 6, log_every=4, folder=tmp_path / "killed")
    step = first._step

    def die(batch, number):
        if number == 5:
            raise KeyboardInterrupt
        return step(batch, number)

    monkeypatch.setattr(first, "_step", die)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    monkeypatch.setattr(TrainingState, "save", save)
    again, _ = make_tiny(seed=1)  # other weights: all of the stage's must come from the state
    frozen = {n: p for n, p in make_tiny()[0].state_dict().items() if not Stage("planning", 1).trains(n)}
    again.load_state_dict(frozen, strict=False)
    trainer(again, processor, "planning", 6, log_every=4, folder=tmp_path / "killed").run()
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_kill_while_the_state_is_written_leaves_the_one_before(make_tiny, trainer, tmp_path, monkeypatch):
    model, processor = make_tiny()
    one = trainer(model, processor, "detector", 2)
    one.run()
    path = tmp_path / "detector" / "state.safetensors"
    before = path.read_bytes()

    def half(tensors, part, metadata):
        Path(part).write_bytes(before[: len(before) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(state_module, "save_file", half)
    with pytest.raises(KeyboardInterrupt):
        one.state.save(2)
    assert path.read_bytes() == before
    assert one.state.restore() == 2


def test_a_damaged_state_is_named(make_tiny, trainer, tmp_path):
    model, processor = make_tiny()
    trainer(model, processor, "detector", 1).run()
    path = tmp_path / "detector" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        trainer(model, processor, "detector", 2).run()


def test_the_state_of_another_model_is_named(make_tiny, trainer):
    model, processor = make_tiny()
    trainer(model, processor, "detector", 1).run()
    with pytest.raises(UserError, match="another model"):
        trainer(make_tiny(stem_dim=24)[0], processor, "detector", 2).run()


def test_a_finished_stage_gives_its_averaged_weights_again(make_tiny, trainer, tmp_path):
    model, processor = make_tiny()
    trainer(model, processor, "detector", 3).run()
    other, _ = make_tiny(seed=1)
    trainer(other, processor, "detector", 3).run()
    stored = load_file(tmp_path / "detector" / "state.safetensors")
    for name, value in model.stem.state_dict().items():
        assert torch.equal(other.stem.state_dict()[name], value)
        assert torch.equal(stored[f"average/stem.{name}"], value)
        assert not torch.equal(stored[f"weight/stem.{name}"], value)


def test_validation_sees_the_average_and_training_goes_on_with_its_own(make_tiny, trainer, tmp_path):
    model, processor = make_tiny()
    seen = []

    def validate(averaged):
        seen.append(averaged.stem.entry.weight.detach().clone())
        return {"figure": 0.5}

    one = trainer(model, processor, "detector", 4, validate=validate, validate_every=2)
    one.run()
    assert [row["step"] for row in curve(tmp_path) if "validation/figure" in row] == [2, 4]
    assert torch.equal(seen[-1], model.stem.entry.weight)
    plain, _ = make_tiny()
    trainer(plain, processor, "detector", 4, folder=tmp_path / "plain").run()
    assert torch.equal(plain.stem.entry.weight, model.stem.entry.weight)


def test_gradient_norms_are_those_of_each_loss(make_tiny, trainer, tmp_path):
    model, processor = make_tiny()
    trainer(model, processor, "detector", 1, log_every=1, norms_every=1).run()
    (row,) = curve(tmp_path)
    parts = [name for name in row if name.startswith("norm/see/")]
    assert len(parts) == 9
    assert all(row[name] > 0 for name in parts)
    # The whole gradient is the sum of the parts' gradients, no longer than the sum of their lengths.
    assert row["norm"] <= sum(row[name] for name in parts) * 1.001


def test_weights_of_losses_make_the_total(tiny):
    stage = Stage("planning", 1, weights={"a": 0.5})
    losses = StageLosses.__new__(StageLosses)
    torch.nn.Module.__init__(losses)
    losses.stage = stage
    assert losses.total({"a": torch.tensor(4.0), "b": torch.tensor(1.0)}).item() == 3.0


def test_the_rate_rises_then_falls():
    rates = [schedule(step, 200) for step in range(200)]
    assert rates[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


SCRIPT = """
import sys, torch
from pathlib import Path
from omegaconf import OmegaConf
from safetensors.torch import save_file
from lohovla.settings.hydra_config import compose
from lohovla.train import recipe

model, folder = sys.argv[1], Path(sys.argv[2])
config = OmegaConf.to_container(compose("train", [
    "stage=detector", "device=cpu", "data.overfit=2", "data.workers=0", "data.tasks=[pick-and-place-primitive]",
    "norms_every=2", "log_every=1",
]), resolve=True)
import json
config["recipe"] = {"model": json.loads(model), "stages": {"detector": {"steps": 3, "batch": 2, "lr": 1e-2}}}
kept = []
real = recipe.Trainer
recipe.Trainer = lambda *a, **k: kept.append(real(*a, **k)) or kept[-1]
recipe.Run(config, folder).train(folder)
one = kept[0]
weights = {name: value.contiguous() for name, value in one.model.stem.state_dict().items()}
save_file(weights, folder / f"rank{one.accelerator.process_index}.safetensors")
"""


def test_two_processes_train_one_model(tmp_path, tiny_settings):
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    answer = subprocess.run(
        [*command, json.dumps(tiny_settings), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert answer.returncode == 0, answer.stderr
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2)]
    state = load_file(tmp_path / "detector" / "state.safetensors")
    for name, value in ranks[0].items():
        assert torch.equal(value, ranks[1][name]), name
        assert torch.equal(value, state[f"average/stem.{name}"]), name
    assert [row["step"] for row in curve(tmp_path)] == [1, 2, 3]
    assert (tmp_path / "checkpoint" / "model.safetensors").exists()


def test_training_without_a_terminal_tells_how_far_it_is(make_tiny, trainer, monkeypatch, capsys):
    monkeypatch.setattr("lohovla.progress._EVERY", 0.0)
    trainer(*make_tiny(), steps=3, log_every=1).run()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("detector: ")]
    assert len(lines) == 3
    assert lines[1].startswith("detector: 2 of 3 steps, ")
    assert " left; loss " in lines[1]
