"""``lohovla evaluate`` and ``lohovla compare`` as a person uses them, and as a machine kills them."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from lohovla.cli import main
from lohovla.envs.tasks.names import VERSION
from lohovla.settings.hydra_config import compose

ARGUMENTS = ["tasks=[A,K]", "control=pick_place", "env.drop_probability=0.5", "videos=0", "workers=2"]


def start(*arguments):
    """The command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lohovla.cli", "evaluate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def outcome(folder):
    return {name: (folder / name).read_bytes() for name in ("episodes.jsonl", "table.md", "summary.json")} | {
        path.name: path.read_bytes() for path in (folder / "failures").iterdir()
    }


def survive(kills, episodes, tmp_path):
    """Kill at random moments, ``kills`` times; whatever comes to its end is like a run that was left alone."""
    arguments = [*ARGUMENTS, f"episodes={episodes}"]
    whole = tmp_path / "whole"
    began = time.perf_counter()
    process = start(*arguments, f"output={whole}")
    assert process.wait() == 0, process.stdout.read()
    took = time.perf_counter() - began
    rng = random.Random(kills)
    run = done = taken_up = 0
    while done < kills:
        folder = tmp_path / f"run{run}"
        began = time.perf_counter()
        process = start(*arguments, f"output={folder}")
        try:
            process.communicate(timeout=rng.uniform(0.2, 0.9) * took)
        except subprocess.TimeoutExpired:
            # Sometimes with its workers, sometimes alone: they must find their own end.
            (os.killpg if rng.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
            process.communicate()
            done += 1
            log = folder / "episodes.jsonl"
            taken_up += log.exists() and log.stat().st_size > 0
        else:
            assert process.returncode == 0
            assert outcome(folder) == outcome(whole)
            took = min(took, time.perf_counter() - began)  # the first run may have met a busy machine
            run += 1
    process = start(*arguments, f"output={tmp_path / f'run{run}'}")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert outcome(tmp_path / f"run{run}") == outcome(whole)
    return taken_up


def test_kills_lose_nothing(tmp_path):
    survive(2, 6, tmp_path)


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path):
    assert survive(20, 30, tmp_path) >= 5  # kills that came when there was something to lose


def test_a_run_leaves_its_results_and_can_be_taken_up_and_compared(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["evaluate", "tasks=A", "control=pick_place", "episodes=3", "workers=1", "videos=0"]
    assert main([*arguments, "output=good"]) == 0
    shown = capsys.readouterr()
    assert "3 of 3 solved" in shown.out
    assert "output=good" in shown.err
    assert {path.name for path in (tmp_path / "good").iterdir()} == {
        "config.yaml",
        "episodes.jsonl",
        "failures",
        "report.html",
        "summary.json",
        "table.md",
    }
    assert (tmp_path / "good" / "table.md").read_text() in shown.out
    summary = json.loads((tmp_path / "good" / "summary.json").read_text())
    assert summary["overall"]["success_rate"] == 1.0
    assert summary["tasks"]["pick-and-place-primitive"]["low"] == pytest.approx(0.4385, abs=1e-4)

    assert main([*arguments, "output=good", "policy=random"]) == 2
    cause, remedy = capsys.readouterr().err.splitlines()
    assert cause == "lohovla: good was made with policy.name=oracle, not random"
    assert "output=FOLDER" in remedy
    made = tmp_path / "good" / "config.yaml"
    said = made.read_text()
    made.write_text(said.replace(f"environment: {VERSION}", f"environment: {VERSION - 1}"))
    assert main([*arguments, "output=good"]) == 2
    assert f"good was made with version {VERSION - 1} of the environment" in capsys.readouterr().err
    made.write_text(said)
    assert main([*arguments, "output=good", "episodes=2"]) == 2
    assert "1 episodes that are not asked for" in capsys.readouterr().err
    assert main([*arguments, "output=good", "episodes=4"]) == 0
    assert "4 of 4 solved" in capsys.readouterr().out

    assert main([*arguments, "output=bad", "policy=random"]) == 0
    capsys.readouterr()
    assert main(["compare", "good", "bad", "output=both"]) == 0
    shown = capsys.readouterr().out
    assert "bad against good, 3 shared episodes" in shown
    assert "| policy.name " in shown
    assert (tmp_path / "both" / "compare.md").read_text().strip() in shown
    assert "-100.0" in (tmp_path / "both" / "compare.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "cause", "remedy"),
    [
        (["evaluate", "suite=lohoraven"], "no suite 'lohoraven'", "'lohoravens'"),
        (["evaluate", "tasks=[Z]"], "no task 'Z'", "lohovla tasks"),
        (["evaluate", "tasks=[]"], "empty list", "name tasks"),
        (["evaluate", "episodes=0"], "at least 1", "episodes=200"),
        (["evaluate", "split=train"], "split cannot be 'train'", "test or val"),
        (["evaluate", "batch=0"], "batch must be at least 1", "batch=null is the default"),
        (["evaluate", "videos=-1"], "videos must be at least 0, not -1", "videos="),
        (["evaluate", "workers=0"], "workers must be at least 1", "workers=null"),
        (["evaluate", "runner=slurm"], "runner cannot be 'slurm'", "local, ray"),
        (["evaluate", "policy=orcale"], "no policy 'orcale'", "oracle"),
        (["evaluate", "control=joints"], "control cannot be 'joints'", "pick_place"),
        (["compare"], "0 runs", "two or more"),
        (["compare", "nowhere", "there"], "no evaluation in nowhere", "lohovla evaluate"),
        (["compare", "runs=here"], "1 runs", "two or more"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(arguments, cause, remedy, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert cause in first
    assert remedy in second
    assert list(tmp_path.iterdir()) == []


def test_bare_words_fill_a_commands_settings():
    words = ["out/a b", "it's", "lr=3e-4/x", "C:\\runs\\", "output=here"]
    words[2] = "runs/lr=3e-4"
    config = compose("compare", words)
    assert list(config.runs) == ["out/a b", "it's", "runs/lr=3e-4", "C:\\runs\\"]
    assert config.output == "here"
    assert compose("bench", ["sim", "workers=1"]).what == "sim"


def test_a_runner_that_is_not_installed_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    assert main(["evaluate", "tasks=A", "episodes=1", "runner=ray"]) == 2
    assert capsys.readouterr().err.splitlines()[1].strip().startswith("pip install 'lohovla[ray]'")
    assert list(tmp_path.iterdir()) == []
