"""LoHoVLA beside its peers: contenders take turns, and each failure stays in its own row."""

import json
import sys

import pytest

from lohovla.benchmarks.peers import parts, peer_environments, peers
from lohovla.benchmarks.peers.contender import Contender, ContenderFailed, ContenderProcess
from lohovla.cli import main
from lohovla.errors import UserError

SLEEPER = """
import sys, time
sys.path.insert(0, {folder!r})
from turn_process import repeat, serve_turns
def prepare(pause, log, name, dies_after=9):
    print("printed things do not disturb")
    def once():
        time.sleep(pause)
    turns = []
    def work(seconds):
        turns.append(1)
        if len(turns) > dies_after:
            raise ValueError("out of order")
        with open(log, "a") as file:
            file.write(name)
        return repeat(once)(seconds)
    return work, {{"pause": pause}}
serve_turns(prepare)
"""


@pytest.fixture
def sleeper(tmp_path):
    program = tmp_path / "sleeper.py"
    program.write_text(SLEEPER.format(folder=str(parts.__file__).rpartition("/")[0]))

    def make(name, pause, **settings):
        given = {"pause": pause, "log": str(tmp_path / "turns"), "name": name, **settings}
        return Contender(name, [sys.executable, str(program)], given)

    return make


def test_contenders_work_in_turns_and_a_ratio_is_of_rates(sleeper, tmp_path):
    rows = peers._measure([sleeper("a", 0.001), sleeper("b", 0.01)], 2, 0.2, tmp_path)
    assert (tmp_path / "turns").read_text() == "ababab"  # the first round warms up
    assert [row["who"] for row in rows] == ["a", "b"]
    assert rows[0]["a second"] > rows[1]["a second"] > 0
    assert "ratio" not in rows[0]
    assert rows[1]["ratio"] > 1.0
    assert (rows[0]["pause"], rows[1]["pause"]) == (0.001, 0.01)
    assert all(row["memory MB"] > 1 for row in rows)


def test_processor_time_is_that_of_the_children_too(tmp_path):
    """As of a loader's workers, which go on when their turn is over."""
    program = tmp_path / "busy.py"
    program.write_text(
        "import json, subprocess, sys, time\n"
        "code = 'import time\\nwhile True:\\n    pass'\n"
        "child = subprocess.Popen([sys.executable, '-c', code])\n"
        "print(json.dumps({'facts': {}}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    time.sleep(float(line))\n"
        "    print(json.dumps({'count': 1, 'seconds': float(line)}), flush=True)\n"
        "child.kill()\n"
    )
    with ContenderProcess(Contender("busy", [sys.executable, str(program)]), tmp_path / "log") as process:
        assert process.turn(1.0).cpu > 0.02


def test_a_ratio_may_be_of_processor_time(tmp_path):
    """Where items come at a given rate; a contender may say its own, which leaves out what it started for the test."""
    folder, names = str(parts.__file__).rpartition("/")[0], (("a", 0.01), ("b", 0.03))
    program = tmp_path / "timed.py"
    program.write_text(
        f"import sys\nsys.path.insert(0, {folder!r})\n"
        "from turn_process import serve_turns\n"
        "serve_turns(lambda cpu: (lambda seconds: (10, cpu), {}))\n"
    )
    some = [Contender(name, [sys.executable, str(program)], {"cpu": cpu}) for name, cpu in names]
    rows = peers._measure(some, 1, 0.05, tmp_path, by_cpu=True)
    assert [row["CPU ms each"] for row in rows] == [1.0, 3.0]
    assert rows[1]["ratio"] == 3.0


def test_pictures_are_heard_and_episodes_played(tmp_path):
    context = parts.PartContext(tmp_path, tmp_path, 1, {})
    server = [sys.executable, "-m", "lohovla.benchmarks.peers.picture_server", "30.0"]
    hear = context.own("hear", server=server, topics=["/front/image"], kind="sensor_msgs/CompressedImage")
    for side in (hear, context.own("loop", workers=1), context.own("evaluate", workers=1)):
        with ContenderProcess(side, tmp_path / "log") as process:
            assert process.turn(1.0).count > 0


def test_one_that_fails_has_its_last_words_in_its_row(sleeper, tmp_path):
    rows = peers._measure([sleeper("a", 0.001), sleeper("b", 0.001, dies_after=1)], 2, 0.05, tmp_path)
    assert rows[0]["a second"] > 0
    assert rows[1] == {"who": "b", "failed": "ValueError: out of order"}
    with pytest.raises(ContenderFailed, match="unexpected keyword"):
        ContenderProcess(sleeper("c", 0.0, wrong=1), tmp_path / "log")


def test_serving_beside_nobody_is_measured_and_written(tmp_path, capsys):
    """Through the command; the peer's interpreter lacks the peer, which its row says."""
    code = main(
        [
            "bench",
            "peers",
            "peer_parts=[serving]",
            "rounds=1",
            "seconds=0.3",
            f"python.openpi={sys.executable}",
            f"output={tmp_path / 'out'}",
        ]
    )
    assert code == 0
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    own, peer = record["table"]
    assert own["who"] == "lohovla"
    assert own["a second"] > 20
    assert "openpi_client" in peer["failed"]
    assert "| lohovla |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["peer_parts=[cooking]"], "there is no part 'cooking'"),
        (["peer_parts=[serving]", "python.openpi=/nowhere/python"], "python.openpi=/nowhere/python does not exist"),
    ],
)
def test_bad_settings_are_refused_in_a_line(words, said, tmp_path, capsys):
    assert main(["bench", "peers", *words, f"output={tmp_path / 'out'}"]) == 2
    assert said in capsys.readouterr().err


def test_an_environment_is_made_once_and_half_made_ones_again(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(peer_environments, "_run", lambda command, peer: commands.append(command))
    folder = tmp_path / "lohovla" / "peers" / "openpi-0.1.2"
    folder.mkdir(parents=True)  # left by a kill
    monkeypatch.setattr(peer_environments.shutil, "rmtree", lambda path, **_: None)
    assert peer_environments.peer_python("openpi", {}) == str(folder / "bin" / "python")
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"]]
    assert "openpi-client==0.1.2" in commands[1]
    peer_environments.peer_python("openpi", {"openpi": None})
    assert len(commands) == 2


def test_a_peer_that_needs_a_newer_python_says_so(monkeypatch):
    monkeypatch.setattr(peer_environments, "_NEEDS", {"lerobot": (3, 99)})
    with pytest.raises(UserError, match=r"lerobot needs Python 3\.99"):
        peer_environments._base_python("lerobot")


def test_reading_and_training_sides_work_on_a_set(tmp_path):
    """LoHoVLA's own sides, on demonstrations as the command records them."""
    context = parts.PartContext(tmp_path, peers._demonstrations(tmp_path, ["training"]), 1, {})
    cache = str(tmp_path / "cache")
    known = {"root": str(context.demonstrations), "cache": cache, "chunk": 8, "height": 16}
    for side, more in (("read", {"batch": 4}), ("train", {"batch": 2, "output": str(tmp_path / "run")}), ("infer", {})):
        with ContenderProcess(context.own(side, **known, **more), tmp_path / "log") as process:
            assert process.turn(0.2).count > 0
            assert process.turn(0.2).count > 0
    write = context.own("write", root=str(tmp_path / "written"), height=64, width=64, length=5)
    with ContenderProcess(write, tmp_path / "log") as process:
        assert process.turn(0.2).count >= 5
    assert json.loads((tmp_path / "written" / "meta" / "info.json").read_text())["total_episodes"] >= 1
