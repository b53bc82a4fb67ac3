"""Weights shared out over two processes: they train as two whole copies do, and leave the same."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from lohovla.cli import main
from lohovla.errors import UserError
from lohovla.model.checkpoint import load_checkpoint, save_checkpoint
from lohovla.train.metrics_logger import METRICS
from lohovla.train.sharding import check_sharding

ARGUMENTS = (
    "train",
    "stage=planning",
    "device=cpu",
    "data.overfit=4",
    "data.workers=0",
    "data.tasks=[pick-and-place-primitive]",
    "recipe.stages.planning.steps=5",
    "recipe.stages.planning.batch=2",
    "recipe.stages.planning.symbolic_batch=2",
    "recipe.stages.planning.lr=0.005",
    "log_every=1",
    "norms_every=0",
    "save_seconds=0",
    "validate_every=2",
)

# Ends before a step without a word, as a kill would; before that it says which share of the weights it has, and
# validates by a figure that depends on all of them.
SCRIPT = """
import os, sys
from pathlib import Path
from lohovla.cli import main
from lohovla.train import recipe
from lohovla.train.loop import Trainer

step = Trainer._step

def counted(self, batch, number):
    if number == int(sys.argv[1]):
        moved = [p for p in self.model.parameters() if p.requires_grad]
        held = sum(getattr(p, "_local_tensor", p).numel() for p in moved)
        rank = self.accelerator.process_index
        Path(sys.argv[2], f"held{rank}").write_text(f"{held} {sum(p.numel() for p in moved)}")
        os._exit(0)
    return step(self, batch, number)

Trainer._step = counted
recipe._validation = lambda *_: lambda model: {"weights": sum(float(p.abs().sum()) for p in model.parameters())}
sys.exit(main(sys.argv[3:]))
"""


def start(*program):
    """Two processes whose sets are ordered differently, that of exp_avg and exp_avg_sq too."""
    own_order = ("--no-python", "sh", "-c", 'PYTHONHASHSEED=$RANK exec "$0" "$@"', sys.executable)
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [*launcher, *own_order, *program]
    answer = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert answer.returncode == 0, answer.stderr


def curve(folder):
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return {
        (row["step"], name): value
        for row in rows
        for name, value in row.items()
        if name not in ("stage", "step", "steps_per_second", "data_wait")
    }


def test_two_shares_train_survive_a_kill_and_leave_what_two_copies_do(make_tiny, tmp_path):
    model, processor = make_tiny()
    save_checkpoint(model, processor, tmp_path / "begin")
    script, copies, shares = tmp_path / "run.py", tmp_path / "copies", tmp_path / "shares"
    script.write_text(SCRIPT)
    arguments = (*ARGUMENTS, f"init={tmp_path / 'begin'}")
    start(str(script), "-1", str(tmp_path), *arguments, f"output={copies}")
    start(str(script), "3", str(tmp_path), *arguments, "fsdp=true", f"output={shares}")
    held = [[int(n) for n in (tmp_path / f"held{rank}").read_text().split()] for rank in range(2)]
    assert held[0][0] + held[1][0] == held[0][1]
    assert max(one for one, _ in held) < 0.6 * held[0][1]
    assert not (shares / "checkpoint").exists()
    assert max(step for step, _ in curve(shares)) == 3
    start("-m", "lohovla.cli", *arguments, "validate_episodes=0", "fsdp=true", f"output={shares}")

    wanted, found = curve(copies), curve(shares)
    assert found == pytest.approx({k: v for k, v in wanted.items() if k in found}, rel=1e-3, abs=1e-3)
    assert (2, "validation/weights") in found
    assert wanted.keys() - found.keys() == {(4, "validation/weights"), (5, "validation/weights")}
    states = [load_file(folder / "planning" / "state.safetensors") for folder in (copies, shares)]
    models = [load_checkpoint(folder / "checkpoint")[0].state_dict() for folder in (copies, shares)]
    begun = model.state_dict()
    assert states[0].keys() == states[1].keys()
    assert far(models[0], begun) > 1e-3
    assert far(*models) < 1e-5  # where a gradient is nearly nothing, Adam makes much of how it was rounded
    for kind in ("weight", "average"):
        assert far(*({k: v for k, v in one.items() if k.startswith(kind)} for one in states)) < 1e-5
    assert all(torch.equal(models[1][f[8:]], v) for f, v in states[1].items() if f.startswith("average/"))


def far(one, other):
    """The mean distance of what has moved anywhere."""
    assert one.keys() == other.keys()
    return torch.cat([(one[name].float() - other[name].float()).abs().flatten() for name in one]).mean().item()


def test_one_process_has_nobody_to_share_with(tmp_path, capsys):
    assert main(["train", "device=cpu", "fsdp=true", f"output={tmp_path}"]) == 2
    cause, remedy = capsys.readouterr().err.splitlines()[-2:]
    assert "this is the only one" in cause
    assert "torchrun --nproc-per-node 2" in remedy


def test_a_scale_that_all_must_agree_on_is_refused():
    with pytest.raises(UserError, match="precision=fp16"):
        check_sharding(SimpleNamespace(num_processes=2, mixed_precision="fp16"))
