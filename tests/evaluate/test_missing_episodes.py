"""Of an evaluation that is resumed, only groups with missing episodes are played."""

from types import SimpleNamespace

from lohovla.evaluate import missing_episodes
from lohovla.evaluate.missing_episodes import play_missing


def test_groups_that_are_whole_are_not_played_again(monkeypatch):
    log = SimpleNamespace(rows={("sort", 1): {}, ("sort", 3): {}, ("stack", 1): {}})
    groups = [SimpleNamespace(task=task, seeds=(1, 3)) for task in ("sort", "stack", "row")]
    monkeypatch.setattr(missing_episodes, "run_jobs", lambda play, jobs, *_: map(play, jobs))
    played = []

    def write(result):
        played.append(result.task)
        log.rows |= {(result.task, seed): {} for seed in (1, 3)}

    def play(group):
        return SimpleNamespace(task=group.task, seconds=2.0)

    assert play_missing(log, groups, play, write, "local", 1) == 4.0
    assert played == ["stack", "row"]
