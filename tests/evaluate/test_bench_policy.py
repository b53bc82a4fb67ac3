"""The table of ablations, on a core that knows nothing."""

import json

import pytest

from lohovla.benchmarks.model import policy
from lohovla.cli import main
from lohovla.model.checkpoint import save_checkpoint


@pytest.fixture
def bench(tiny, tmp_path, capsys):
    save_checkpoint(*tiny, tmp_path / "core")

    def run(*settings):
        code = main(
            [
                "bench",
                "policy",
                f"checkpoint={tmp_path / 'core'}",
                "tasks=[A]",
                "episodes=1",
                "workers=1",
                f"output={tmp_path / 'out'}",
                *settings,
            ]
        )
        return code, capsys.readouterr()

    return run


def test_each_changes_one_thing_and_a_run_is_taken_up_again(bench, tmp_path, monkeypatch):
    code, said = bench("ablations=[shipped,none,words]")
    assert code == 0, said.err
    titles = [line.split("|")[1].strip() for line in said.out.splitlines() if line.startswith("| ")]
    assert titles[1:] == ["as shipped", "no sub-tasks: the goal alone", "goals in other words"]
    rows = [[cell.strip() for cell in line.split("|")] for line in said.out.splitlines() if line.startswith("| ")]
    right = {row[1]: row[-3] for row in rows}
    assert right["no sub-tasks: the goal alone"] == "-"  # no plans, so none is wrong
    assert right["as shipped"].endswith(" %")
    record = json.loads(said.out.splitlines()[-1])
    assert record["figures"]["none"]["right"] is None
    assert record["figures"]["shipped"]["right"] is not None
    logs = {name: (tmp_path / "out" / name / "episodes.jsonl").read_text() for name in ("shipped", "none", "words")}
    assert '"text": "Pick up' in logs["shipped"]
    assert '"text": "Pick up' not in logs["none"]
    goals = {name: log.split('"instruction": ')[1].split(",")[0] for name, log in logs.items()}
    assert goals["shipped"] == goals["none"] != goals["words"]
    played = []
    evaluate = policy.evaluate
    monkeypatch.setattr(policy, "evaluate", lambda *a, **b: played.append(evaluate(*a, **b)) or played[-1])
    assert bench("ablations=[shipped,none,words]")[0] == 0
    assert [seconds for _, seconds in played] == [0.0] * 3


def test_pictures_from_elsewhere_are_rows_of_their_own(make_tiny, tmp_path, bench):
    save_checkpoint(*make_tiny(trained_stages=["autoencoder", "subgoal"]), tmp_path / "core")
    code, said = bench("ablations=[image,image-true,image-shuffled]")
    assert code == 0, said.err
    titles = [line.split("|")[1].strip() for line in said.out.splitlines() if line.startswith("| ")]
    assert titles[1:] == [policy.ABLATIONS[name].title for name in ("image", "image-true", "image-shuffled")]
    assert titles[2:] == ["sub-tasks as true pictures", "sub-tasks as another scene's pictures"]


def test_an_unknown_one_is_named(bench):
    code, said = bench("ablations=[shipped,salt]")
    assert code == 2
    assert "no ablation 'salt'" in said.err
