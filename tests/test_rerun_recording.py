"""Recordings for Rerun: of rollouts, of data sets, of the samples that training picks."""

import builtins

import pytest

from lohovla.cli import main
from lohovla.rerun_recording import check_viewer

TASK = "put-block-into-matching-bowl"


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "bowls"
    words = [f"task={TASK}", "control=pick_place", "episodes=2", "workers=1", f"dataset={folder}"]
    assert main(["collect", *words]) == 0
    return folder


def named(path, *names):
    """Whether a recording holds what the names say, and is one."""
    data = path.read_bytes()
    assert data[:3] == b"RRF"
    return [name for name in names if f"/{name}".encode() not in data] == []


@pytest.mark.parametrize("control", ["ee", "pick_place"])
def test_a_rollout_and_what_it_decides_stays_the_same(control, tmp_path):
    pytest.importorskip("rerun")
    words = ["rollout", "task=pick-and-place-primitive", f"control={control}", "video=false", "policy=oracle"]
    for name, more in (("plain", []), ("recorded", ["viz=rerun"])):
        assert main([*words, *more, f"output={tmp_path / name}"]) == 0
    results = [(tmp_path / name / "result.json").read_text() for name in ("plain", "recorded")]
    assert results[0] == results[1]
    assert not (tmp_path / "plain" / "rollout.rrd").exists()
    tools = ["tool/chunk", "action/x"] if control == "ee" else ["tool/pick", "tool/place", "action/pick.x"]
    wanted = ["images/top", "depth/top", "images/wrist", "state/ee.x", "score/goal", "subtask", "goal", *tools]
    assert named(tmp_path / "recorded" / "rollout.rrd", *wanted)


def test_an_episode_of_a_data_set(demonstrations, tmp_path, capsys):
    pytest.importorskip("rerun")
    assert main(["data", "show", str(demonstrations), "episode=1", f"output={tmp_path}"]) == 0
    told = capsys.readouterr().out
    assert "of episode 1 in" in told
    assert "rerun " in told
    wanted = ["images/top", "images/wrist", "state/ee.x", "action/pick.x", "goal", "subtask", "progress/subtask"]
    assert named(tmp_path / "episode-1.rrd", *wanted)


def test_the_samples_of_a_training(demonstrations, tmp_path):
    pytest.importorskip("rerun")
    small = ["steps=1", "batch_size=2", "image_height=32", "recipe.model.chunk_size=2", "recipe.model.max_prefix=0"]
    words = ["train", f"dataset={demonstrations}", *small, f"cache={tmp_path / 'cache'}", f"output={tmp_path / 'run'}"]
    assert main([*words, "viz=rerun", "device=cpu"]) == 0
    wanted = ["images/top", "state/ee.x", "action/pick.x", "chunk", "chunk_actions/own", "goal", "subtask"]
    assert named(tmp_path / "run" / "samples.rrd", *wanted)
    assert (tmp_path / "run" / "checkpoint").is_dir()


@pytest.mark.parametrize(
    "words",
    [
        ["rollout", "video=false"],
        ["data", "show", "demos/none"],
        ["train", "dataset=demos/none"],
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_is_done(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "viz=holodeck"]) == 2
    assert "viz=rerun writes" in capsys.readouterr().err
    plain = builtins.__import__

    def without(name, *arguments, **settings):
        if name == "rerun":
            raise ImportError("no rerun")
        return plain(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main([*words, "viz=rerun"]) == 2
    assert "pip install 'lohovla[viz]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_viewer_needs_none():
    check_viewer(None)
