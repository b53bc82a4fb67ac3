"""An evaluation gives the same bytes wherever it runs, in whatever company, and however often it is interrupted."""

import dataclasses

import numpy as np
import pytest

from lohovla.evaluate import evaluation_worker
from lohovla.evaluate.episode_files import first_by_task
from lohovla.evaluate.protocol import Protocol, seeds_of
from lohovla.evaluate.run_evaluation import evaluate, film_some
from lohovla.policies import registry
from lohovla.policies.base import Decision, Policy, PolicySpec


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def reference(protocol, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    rows, _ = evaluate(protocol, folder, workers=1)
    return folder, rows


def test_every_episode_has_a_line_and_every_failure_a_reason_and_a_picture(protocol, reference):
    folder, rows = reference
    assert [(row["task"], row["seed"]) for row in rows] == protocol.episodes
    failed = [row for row in rows if not row["success"]]
    assert 0 < len(failed) < len(rows)  # drops are many: both kinds are there
    for row in failed:
        assert row["failure"].startswith("action limit at score ")
        assert f"{row['drops']} dropped" in row["failure"]
        assert f"“{row['subtasks'][-1]['text']}”" in row["failure"]
        assert f"still to do: “{row['missing']}”" in row["failure"]
        assert (folder / "failures" / f"{row['task']}-{row['seed']}.jpg").read_bytes().startswith(b"\xff\xd8")
    assert len(list((folder / "failures").iterdir())) == len(failed)
    for row in rows:
        assert row["scores"][0] == (0, 0.0, 0.0)
        assert row["scores"][-1][2] == row["score"]
        assert len(row["subtasks"]) == row["steps"] == sum(row["outcomes"].values())


@pytest.mark.parametrize("options", [{"workers": 1, "batch": 4}, {"workers": 2}], ids=["batch 4", "two workers"])
def test_same_bytes_with_other_workers_and_batches(options, protocol, reference, tmp_path):
    evaluate(protocol, tmp_path, **options)
    assert contents(tmp_path) == contents(reference[0])


def test_same_bytes_on_ray(protocol, reference, tmp_path):
    pytest.importorskip("ray")
    evaluate(protocol, tmp_path, runner="ray", workers=2)
    assert contents(tmp_path) == contents(reference[0])


def test_only_what_is_missing_is_played(protocol, reference, tmp_path, monkeypatch):
    lines = (reference[0] / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "episodes.jsonl").write_bytes(b"".join(lines[:2] + lines[6:]) + lines[3][:50])
    played = []

    def watch(group):
        played.extend((group.task, seed) for seed in group.seeds)
        return evaluation_worker.play_group(group)

    monkeypatch.setattr("lohovla.evaluate.run_evaluation.play_group", watch)
    evaluate(protocol, tmp_path, workers=1)
    assert played == protocol.episodes[2:6]
    assert (tmp_path / "episodes.jsonl").read_bytes() == b"".join(lines)


def test_an_evaluation_grows(protocol, reference, tmp_path):
    smaller = dataclasses.replace(protocol, tasks=protocol.tasks[:1], seeds=protocol.seeds[:2])
    evaluate(smaller, tmp_path, workers=1)
    evaluate(protocol, tmp_path, workers=1)
    assert contents(tmp_path) == contents(reference[0])


class _Watcher(Policy):
    """Looks from above at depth only, remembers in slots, and notes the company that it is asked in."""

    spec = PolicySpec(("depth.top", "state", "instruction"), "pick_place", (2, 4), 1, 20.0)

    def __init__(self):
        self.asked, self.keys, self.seeds = [], set(), {}

    def reset(self, seed, slot=0):
        self.seeds[slot] = seed

    def act(self, observation, context):
        raise AssertionError("asked one at a time")

    def act_batch(self, observations, contexts):
        self.asked.append([self.seeds[context.slot] for context in contexts])
        self.keys |= {key for observation in observations for key in observation}
        return [
            Decision(np.full((1, 2, 4), 0.3 + depth["depth.top"].mean(), np.float32), subtask=depth["instruction"])
            for depth in observations
        ]


def test_a_batched_policy_is_fed_from_many_environments_and_only_what_it_reads(tmp_path, monkeypatch):
    watcher = _Watcher()
    monkeypatch.setitem(registry._POLICIES, "watcher", lambda env: watcher)
    evaluation_worker._policy.cache_clear()
    env = {
        "control": "pick_place",
        "cameras": {name: {"width": 64, "height": 32, "depth": True} for name in ("top", "wrist")},
    }
    protocol = Protocol(("pick-and-place-primitive",), seeds_of("test", 5), "watcher", env)
    evaluate(protocol, tmp_path, workers=1, batch=3)
    evaluation_worker._policy.cache_clear()
    assert watcher.asked == [[10001, 10003, 10005]] * 3 + [[10007, 10009]] * 3  # three actions allowed
    assert watcher.keys == {"images.top", "depth.top", "state", "instruction"}


def test_nothing_is_rendered_for_a_policy_that_looks_at_nothing(protocol, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("rendered")

    monkeypatch.setattr("lohovla.envs.sensors.render_camera_picture", refuse)
    monkeypatch.setattr("lohovla.envs.sensors.render_color", refuse)
    cameras = {"top": {"width": 64, "height": 32, "depth": True}, "wrist": {"width": 32, "height": 32, "depth": False}}
    calm = dataclasses.replace(protocol, seeds=(10001,), env={"control": "ee", "cameras": cameras})
    rows, _ = evaluate(calm, tmp_path, workers=1)
    assert all(row["success"] for row in rows)


def test_failures_come_from_every_task_first(row):
    rows = [row(task, seed, success) for task in "ab" for seed, success in ((1, False), (3, True), (5, False))]
    assert [(r["task"], r["seed"]) for r in first_by_task(rows, 3, success=False)] == [("a", 1), ("b", 1), ("a", 5)]
    assert first_by_task(rows, 0, success=False) == []
    assert [(r["task"], r["seed"]) for r in first_by_task(rows, 3, success=True)] == [("a", 3), ("b", 3)]


def test_successes_are_filmed_where_failures_are_fewer(row, tmp_path, monkeypatch):
    monkeypatch.setattr("lohovla.evaluate.run_evaluation.film", lambda group: str(group.seeds).encode())
    rows = [row("a", 1), row("a", 3, False), row("b", 1), row("b", 3)]
    protocol = Protocol(("a", "b"), (1, 3), "oracle", {})
    for count, wanted in (
        (1, [("a", 3)]),
        (3, [("a", 3), ("a", 1), ("b", 1)]),
        (9, [("a", 3), ("a", 1), ("b", 1), ("b", 3)]),
    ):
        films = film_some(protocol, tmp_path, rows, count, "local", 1)
        assert [(row["task"], row["seed"]) for row, _ in films] == wanted
        assert all(path.read_bytes() == str((row["seed"],)).encode() for row, path in films)


def test_films_are_made_once(protocol, reference, tmp_path, monkeypatch):
    _, rows = reference
    films = film_some(protocol, tmp_path, rows, 1, "local", 1)
    (film,) = (tmp_path / "videos").iterdir()
    assert films[0][1] == film
    assert b"ftyp" in film.read_bytes()[:12]
    monkeypatch.setattr("lohovla.evaluate.run_evaluation.film", None)  # would fail if it were called
    assert film_some(protocol, tmp_path, rows, 1, "local", 1) == films
