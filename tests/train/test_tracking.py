"""Trackers: what their packages are asked for, what a run is told, and that it is told once."""

import json
import sys
import types

import pytest
from PIL import Image

from lohovla.cli import main
from lohovla.errors import UserError
from lohovla.train.tracking import TRACKERS, Tracking


class Tracker:
    """What the tests need of both packages' published API; runs are known as those know them."""

    def __init__(self, name):
        self.name, self.runs = name, {}

    def module(self):
        module = types.ModuleType(self.name)
        module.init = self.wandb if self.name == "wandb" else self.trackio
        module.Image = lambda path: ("image", path)
        return module

    def wandb(self, *, project=None, dir=None, id=None, name=None, config=None, group=None, job_type=None, resume=None):
        return self.begin((project, id), resume, name=name, group=group, config=config, dir=dir, job_type=job_type)

    def trackio(self, project, name=None, group=None, config=None, resume="never"):
        return self.begin((project, name), resume, name=name, group=group, config=config)

    def begin(self, key, resume, **about):
        assert resume == "allow"
        run = self.runs.setdefault(key, Run())
        run.begun, run.about = run.begun + 1, about
        return run


class Run:
    def __init__(self):
        self.begun = self.finished = 0
        self.rows = []

    def log(self, values, step=None):
        self.rows += [(step, name, value) for name, value in values.items()]

    def finish(self):
        self.finished += 1


@pytest.fixture(params=TRACKERS)
def tracker(request, monkeypatch):
    one = Tracker(request.param)
    monkeypatch.setitem(sys.modules, one.name, one.module())
    return one


def written(folder):
    """Steps and figures of the lines, without the speed."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {(row["step"], f"detector/{name}"): row[name] for row in rows for name in row.keys() - {"step", "stage"}}


def kill(trainer, at, monkeypatch):
    """Run it to a step, the state of an earlier one being the last that was saved."""
    step, save = trainer._step, trainer.state.save

    def die(batch, number):
        if number == at:
            raise KeyboardInterrupt
        return step(batch, number)

    monkeypatch.setattr(trainer, "_step", die)
    monkeypatch.setattr(trainer.state, "save", lambda done, sums, write: save(done, sums, write) if done == 2 else None)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()


def test_a_resumed_run_goes_on_in_the_same_one_and_no_step_is_told_twice(
    make_tiny, trainer, tmp_path, tracker, monkeypatch
):
    tracking = Tracking(tracker.name, "blocks", {"seed": 3})
    settings = {"steps": 7, "log_every": 1, "tracking": tracking, "validate": lambda model: {"B": 0.5}}
    kill(trainer(*make_tiny(), **settings), 4, monkeypatch)
    ((key, run),) = tracker.runs.items()
    assert {step for step, _, _ in run.rows} == {1, 2, 3, 4}
    assert run.finished == 1  # whatever ends a run, what it was told arrives
    trainer(*make_tiny(seed=1), **settings).run()
    assert list(tracker.runs) == [key]
    assert key[0] == "blocks"
    assert (run.begun, run.finished) == (2, 2)
    told = {(step, name): value for step, name, value in run.rows}
    assert len(told) == len(run.rows)
    wanted = written(tmp_path)
    assert told.keys() == wanted.keys()
    assert (7, "detector/validation/B") in told
    for name in wanted.keys() - {
        (step, f"detector/{timed}") for step in range(8) for timed in ("steps_per_second", "data_wait")
    }:
        assert told[name] == wanted[name], name
    assert run.about["config"] == {"seed": 3, "stage": "detector"}
    assert run.about["group"] == tmp_path.name
    assert run.about["name"].startswith(f"{tmp_path.name}-detector-")


def test_a_run_that_began_without_a_tracker_is_told_from_its_start(make_tiny, trainer, tmp_path, tracker, monkeypatch):
    kill(trainer(*make_tiny(), steps=6, log_every=1), 4, monkeypatch)
    trainer(*make_tiny(), steps=6, log_every=1, tracking=Tracking(tracker.name, "blocks")).run()
    (run,) = tracker.runs.values()
    assert [step for step, name, _ in run.rows if name == "detector/loss"] == [1, 2, 3, 4, 5, 6]


def test_stages_and_projects_have_runs_of_their_own(tmp_path, tracker):
    for project, stage in (("one", "detector"), ("one", "planning"), ("two", "planning"), ("two", "planning")):
        Tracking(tracker.name, project).begin(tmp_path / stage, [], 0)
    assert len(tracker.runs) == 3


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_named_before_anything_is_drawn(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["train", f"track={name}", f"output={tmp_path}"]) == 2
    cause, remedy = capsys.readouterr().err.splitlines()
    assert cause == f"lohovla: track={name} needs the package {name}"
    assert f"pip install 'lohovla[{name}]'" in remedy


def test_another_tracker_is_refused():
    with pytest.raises(UserError, match="'mlflow'") as caught:
        Tracking("mlflow", "lohovla")
    assert "wandb, trackio" in caught.value.remedy


def test_a_refusal_of_the_tracker_is_one_line(tmp_path, tracker, monkeypatch):
    def refuse(**about):
        raise RuntimeError("api_key not configured\n(a long story)")

    monkeypatch.setattr(sys.modules[tracker.name], "init", refuse)
    with pytest.raises(UserError, match="did not start a run: api_key not configured\n"):
        Tracking(tracker.name, "lohovla").begin(tmp_path / "detector", [], 0)


def test_images_are_shown_beside_the_curves(make_tiny, trainer, tmp_path, tracker):
    path = tmp_path / "plot.png"
    Image.new("RGB", (8, 6)).save(path)
    settings = {"steps": 1, "log_every": 1, "validate": lambda model: {"B": 0.5, "plot": path}}
    trainer(*make_tiny(), **settings, tracking=Tracking(tracker.name, "blocks")).run()
    (run,) = tracker.runs.values()
    assert (1, "detector/validation/plot", ("image", str(path))) in run.rows
    assert (1, "detector/validation/B", 0.5) in run.rows
