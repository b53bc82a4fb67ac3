"""The log of episodes survives what a kill leaves, and refuses what it cannot vouch for."""

import dataclasses
import json
import resource

import pytest
import yaml

from lohovla import __version__
from lohovla.envs.tasks.names import VERSION
from lohovla.errors import UserError
from lohovla.evaluate.log import (
    EpisodeLog,
    flatten,
    read_rows,
    read_settings,
    refuse_other_settings,
    refuse_while_written,
)

MADE = {"version": __version__, "environment": VERSION}
EPISODES = [("task-a", 1), ("task-a", 3), ("täsk-b", 1)]


def fill(folder, episodes):
    log = EpisodeLog(folder, EPISODES)
    for task, seed in episodes:
        log.append({"task": task, "seed": seed, "instruction": "ä"})
    log.close()
    return (folder / "episodes.jsonl").read_bytes()


def test_a_line_cut_anywhere_is_dropped_and_written_again(tmp_path):
    whole = fill(tmp_path, EPISODES)
    last = whole[:-1].rindex(b"\n") + 1
    for cut in range(last, len(whole)):
        (tmp_path / "episodes.jsonl").write_bytes(whole[:cut])
        log = EpisodeLog(tmp_path, EPISODES)
        assert list(log.rows) == EPISODES[:2]
        log.append({"task": "täsk-b", "seed": 1, "instruction": "ä"})
        assert (tmp_path / "episodes.jsonl").read_bytes() == whole  # also if the next kill comes right now
        log.close()
        assert (tmp_path / "episodes.jsonl").read_bytes() == whole


def test_the_file_ends_in_order_whoever_finished_first(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert fill(tmp_path / "a", EPISODES) == fill(tmp_path / "b", reversed(EPISODES))


def test_each_line_is_on_disk_before_the_next_episode(tmp_path):
    log = EpisodeLog(tmp_path, EPISODES)
    for count, (task, seed) in enumerate(EPISODES, 1):
        log.append({"task": task, "seed": seed})
        assert len((tmp_path / "episodes.jsonl").read_bytes().splitlines()) == count
    log.append({"task": "task-a", "seed": 1, "again": True})
    assert len((tmp_path / "episodes.jsonl").read_bytes().splitlines()) == 3


def test_two_at_once_are_refused(tmp_path):
    log = EpisodeLog(tmp_path, EPISODES)
    with pytest.raises(UserError, match="another evaluation is writing"):
        EpisodeLog(tmp_path, EPISODES)
    log.close()
    EpisodeLog(tmp_path, EPISODES).close()


def test_a_damaged_line_is_named(tmp_path):
    whole = fill(tmp_path, EPISODES).splitlines(keepends=True)
    (tmp_path / "episodes.jsonl").write_bytes(whole[0] + b"\0\0\0\n" + whole[2])
    with pytest.raises(UserError, match=r"line 2 of .*episodes.jsonl is damaged"):
        EpisodeLog(tmp_path, EPISODES)


def test_episodes_that_are_not_asked_for_are_refused_and_kept(tmp_path):
    whole = fill(tmp_path, EPISODES)
    with pytest.raises(UserError, match="1 episodes that are not asked for, such as täsk-b seed 1"):
        EpisodeLog(tmp_path, EPISODES[:2])
    assert (tmp_path / "episodes.jsonl").read_bytes() == whole


def test_only_what_decides_outcomes_must_be_the_same(tmp_path, protocol):
    settings = {"policy": {"name": "oracle"}, "split": "test", "env": dict(protocol.env), "workers": 7, "episodes": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**MADE, "settings": settings}))
    other = dataclasses.replace(protocol, policy="random")
    refuse_other_settings(tmp_path, other)  # no episode there yet
    (tmp_path / "episodes.jsonl").write_text(json.dumps({"task": "a", "seed": 1}) + "\n")
    refuse_other_settings(tmp_path, protocol)
    for changed, message in (
        (other, "policy.name=oracle, not random"),
        (dataclasses.replace(protocol, policy_settings={"port": 1}), "policy.port=None, not 1"),
        (dataclasses.replace(protocol, split="val"), "split=test, not val"),
        (dataclasses.replace(protocol, env={**protocol.env, "drop_probability": 0.0}), "drop_probability=0.6, not 0.0"),
        (dataclasses.replace(protocol, env={"control": "pick_place"}), "env.drop_probability=0.6, not None"),
    ):
        with pytest.raises(UserError, match=message):
            refuse_other_settings(tmp_path, changed)


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1, None])
def test_episodes_of_another_environment_are_not_gone_on_with(version, tmp_path, protocol):
    """From the same seeds it gives other observations; the first version was not written down."""
    settings = {"policy": {"name": "oracle"}, "split": "test", "env": dict(protocol.env)}
    made = {"version": __version__, "settings": settings, **({} if version is None else {"environment": version})}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(made))
    (tmp_path / "episodes.jsonl").write_text(json.dumps({"task": "a", "seed": 1}) + "\n")
    with pytest.raises(UserError, match=rf"version {version or 0} of the environment, and this is version {VERSION}"):
        refuse_other_settings(tmp_path, protocol)


@pytest.mark.parametrize("text", [b"settings: 3\n", b"[1, 2\n", b"[1, 2]\n", b"\xff\xfe\x00"])
def test_settings_that_are_none_of_a_run(text, tmp_path, protocol):
    (tmp_path / "config.yaml").write_bytes(text)
    (tmp_path / "episodes.jsonl").touch()
    for read in (lambda: read_settings(tmp_path), lambda: refuse_other_settings(tmp_path, protocol)):
        with pytest.raises(UserError, match=r"config.yaml holds no settings of a run"):
            read()


@pytest.mark.parametrize("line", [b"{}", b"3", b'{"task": "a"}', b'{"task": "a", "seed": null}', b"\xff"])
def test_lines_that_are_no_episode(line, tmp_path):
    (tmp_path / "episodes.jsonl").write_bytes(line + b"\n")
    with pytest.raises(UserError, match=r"line 1 of .*episodes.jsonl is damaged"):
        read_rows(tmp_path)


def test_a_log_that_is_a_folder(tmp_path):
    (tmp_path / "episodes.jsonl").mkdir()
    with pytest.raises(UserError, match=r"cannot write to .*: Is a directory"):
        refuse_while_written(tmp_path)


def test_settings_flatten_to_dotted_names():
    assert flatten({"a": 1, "b": {"c": {"d": [2]}, "e": None}}) == {"a": 1, "b.c.d": [2], "b.e": None}


def test_a_disk_that_gets_full_costs_the_line_that_filled_it(tmp_path):
    """Half of a line is written, the rest refused: two lines, and the log goes on when there is room."""
    whole = fill(tmp_path, EPISODES[:2])
    log = EpisodeLog(tmp_path, EPISODES)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, before[1]))
    try:
        with pytest.raises(UserError, match="File too large") as found:
            log.append({"task": "täsk-b", "seed": 1, "instruction": "ä"})
        assert "make room" in found.value.remedy
        assert (tmp_path / "episodes.jsonl").read_bytes()[: len(whole)] == whole
        log._file.close()  # without order or farewell, as the process ends
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert fill(tmp_path, EPISODES[2:])[: len(whole)] == whole
    assert len((tmp_path / "episodes.jsonl").read_bytes().splitlines()) == 3


def test_a_folder_that_is_written_to_is_refused_before_its_settings_are_replaced(tmp_path):
    refuse_while_written(tmp_path)
    log = EpisodeLog(tmp_path, EPISODES)
    with pytest.raises(UserError, match="another evaluation is writing"):
        refuse_while_written(tmp_path)
    log.close()
    refuse_while_written(tmp_path)
