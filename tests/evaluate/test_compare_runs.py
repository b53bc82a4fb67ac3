"""Runs compared on the seeds that they share."""

import pytest

from lohovla.errors import UserError
from lohovla.evaluate.compare_runs import comparison_page, differing_settings, pair, pairs_table, read_runs

A, B = "pick-and-place-primitive", "put-block-into-matching-bowl"


@pytest.fixture
def two(row, write_run, tmp_path):
    """Ten shared seeds of one task, two of another; the first run has a task and seeds of its own."""
    solved = {"first": {1, 2, 3, 4, 5, 6, 7, 8}, "second": {1, 2, 9}}
    folders = []
    for name, seeds in solved.items():
        rows = [row(A, seed, seed in seeds) for seed in range(1, 11)] + [row(B, seed) for seed in (1, 2)]
        if name == "first":
            rows += [row(A, seed, False) for seed in range(20, 30)] + [row("stack-all-blocks-on-a-zone", 1)]
        settings = {"policy": name, "workers": len(name), "env": {"control": "ee", "drop_probability": 0.0}}
        folders.append(write_run(tmp_path / name, rows, settings))
    return read_runs(folders)


def test_pairs_count_only_shared_seeds_and_test_the_discordant(two):
    first, second, both = pair(*two)
    assert (first.what, second.what, both.what) == (A, B, "all")
    assert (first.shared, second.shared, both.shared) == (10, 2, 12)
    assert first.rates == pytest.approx((0.8, 0.3))
    assert first.scores == pytest.approx((0.9, 0.65))
    assert (first.only_first, first.only_second) == (6, 1)
    assert first.p == pytest.approx(2 * (1 + 7) / 2**7)
    assert second.p == 1.0
    assert both.rates == pytest.approx((10 / 12, 5 / 12))


def test_the_table_gives_differences_and_counts(two):
    header, rows = pairs_table("first", "second", pair(*two))
    assert rows[0] == ["A", A, "10", "80.0", "30.0", "-50.0", "6", "1", "0.125", "90.0", "65.0", "-25.0"]
    assert rows[2][:3] == ["", "all episodes", "12"]
    assert header[6:8] == ["only first", "only second"]


def test_settings_that_differ_are_shown_unless_they_change_nothing(two):
    assert differing_settings(two) == (["", "setting", "first", "second"], [["", "policy", "first", "second"]])


def test_the_page_has_every_task_and_nothing_from_outside(two):
    text = comparison_page(two, [(*two, pair(*two))])
    assert A in text
    assert B in text
    assert "http" not in text
    assert "-41.7" in text


def test_folders_of_one_name_are_told_apart(row, write_run, tmp_path):
    folders = [write_run(tmp_path / name / "run", [row()]) for name in ("x", "y")]
    assert [run.name for run in read_runs(folders)] == ["x/run", "y/run"]


def test_what_cannot_be_compared(row, write_run, tmp_path):
    one = write_run(tmp_path / "one", [row(seed=1)])
    other = write_run(tmp_path / "other", [row(seed=3)])
    with pytest.raises(UserError, match="1 runs cannot be compared"):
        read_runs([one])
    with pytest.raises(UserError, match="named twice"):
        read_runs([one, one])
    with pytest.raises(UserError, match="no evaluation in"):
        read_runs([one, tmp_path])
    with pytest.raises(UserError, match="no episode yet"):
        read_runs([one, write_run(tmp_path / "empty", [])])
    with pytest.raises(UserError, match="share no episode"):
        pair(*read_runs([one, other]))
