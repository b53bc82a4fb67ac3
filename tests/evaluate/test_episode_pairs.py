"""Two runs compared episode by episode."""

import json

import pytest

from lohovla.cli import main
from lohovla.errors import UserError
from lohovla.evaluate.compare_runs import comparison_page, pair, read_runs
from lohovla.evaluate.episode_pairs import episode_pairs, film_pairs, pairs_as_table

A = "pick-and-place-primitive"


@pytest.fixture
def two(row, write_run, tmp_path):
    """Seeds 1 to 4: both, only the first, only the second, neither; sub-tasks part in the second step of seed 2."""
    words = ["Pick up a.", "Pick up b."]
    folders = []
    for name, solved in {"old": (1, 2), "new": (1, 3)}.items():
        rows = []
        for seed in (1, 2, 3, 4):
            texts = [words[0], "Pick up c."] if (name, seed) == ("new", 2) else words
            spans = [{"time": 0.0, "text": text, "score": 0.0} for text in texts]
            rows.append(row(A, seed, seed in solved, subtasks=spans))
        folders.append(write_run(tmp_path / name, rows, {"policy": {"name": "oracle"}, "env": {}}))
    return read_runs(folders)


def test_those_that_differ_come_first(two):
    pairs = episode_pairs(two[0].rows, two[1].rows)
    assert [(pair.seed, pair.solved_by) for pair in pairs] == [
        (2, "only the first"),
        (3, "only the second"),
        (4, "neither"),
        (1, "both"),
    ]
    assert pairs[0].parting == (2, "Pick up b.", "Pick up c.")
    assert pairs[1].parting is None


def test_the_table_names_the_runs_and_where_they_part(two):
    header, rows = pairs_as_table(["old", "new"], episode_pairs(two[0].rows, two[1].rows))
    assert header[-1] == "sub-tasks part at"
    assert rows[0] == ["only old", A, "2", "100", "50", "success", "action limit", "2: “Pick up b.” / “Pick up c.”"]
    assert rows[2][0] == "neither"


def test_the_page_has_every_episode_and_both_films_where_there_are_two(two):
    for run, seed in ((two[0], 2), (two[1], 2), (two[0], 3)):
        (run.folder / "videos").mkdir(exist_ok=True)
        (run.folder / "videos" / f"{A}-{seed}.mp4").write_bytes(b"film")
    text = comparison_page(two, [(*two, pair(*two))])
    assert text.count("<video") == 2
    assert "1 solved by old alone, 1 by new alone, 1 by neither, 1 by both" in text
    assert "All 4 shared episodes" in text


def test_a_run_that_does_not_say_how_it_was_made_is_not_filmed(two):
    (two[0].folder / "config.yaml").write_text(json.dumps({"settings": {}}))
    with pytest.raises(UserError, match="does not say how to play"):
        film_pairs([two[0].folder], episode_pairs(two[0].rows, two[1].rows), 1)


def test_the_command_films_both(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    common = ["evaluate", "tasks=[A]", "control=pick_place", "episodes=1", "videos=0", "workers=1"]
    assert main([*common, "policy=oracle", "output=old"]) == 0
    assert main([*common, "policy=random", "output=new"]) == 0
    assert main(["compare", "old", "new", "films=1", "output=both"]) == 0
    assert "only old" in capsys.readouterr().out
    assert (tmp_path / "both" / "compare.html").read_text().count("<video") == 2
    assert (tmp_path / "new" / "videos" / f"{A}-10001.mp4").stat().st_size > 1000
