"""Hold-to-run from the command line: what counts as held, for how long, and what stops everything."""

import os

import pytest

from lohovla.control.safety.deadman_input import DeadmanInput, EmergencyKey
from lohovla.errors import UserError


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, lambda text: os.write(writing, text)
    os.close(writing)


def test_a_key_that_is_held_counts_across_the_pause_before_it_repeats_and_ends_soon_after(pipe):
    file, write = pipe
    hold = DeadmanInput(file, keys=True, first=0.7, repeated=0.1)
    assert not hold.held(0.0)
    write(b" ")
    assert hold.held(1.0)
    assert hold.held(1.65)  # the terminal has not begun to repeat it
    write(b" ")
    assert hold.held(1.66)
    assert not hold.held(1.77)  # let go
    write(b" ")
    assert hold.held(3.0)
    assert not hold.held(3.71)  # a tap
    hold.close()


def test_any_other_key_stops(pipe):
    file, write = pipe
    hold = DeadmanInput(file, keys=True)
    write(b"  q ")
    with pytest.raises(EmergencyKey, match="q"):
        hold.held(0.0)
    hold.close()


def test_a_pipe_is_held_while_somebody_writes_and_may_come_and_go(tmp_path):
    path = tmp_path / "held"
    hold = DeadmanInput.from_source(str(path))
    assert not hold.held(0.0)  # nobody has opened it
    for began in (1.0, 5.0):
        writer = os.open(path, os.O_WRONLY)
        os.write(writer, b"y\n" * 20_000)  # as `yes` does
        assert hold.held(began)
        os.close(writer)
        assert hold.held(began + 0.09)
        assert not hold.held(began + 0.2)
    hold.close()


def test_what_cannot_be_held_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a named pipe"):
        DeadmanInput.from_source(str(tmp_path / "file"))
    with pytest.raises(UserError, match="No such file"):
        DeadmanInput.from_source(str(tmp_path / "none" / "pipe"))
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        with pytest.raises(UserError, match="not a terminal"):
            DeadmanInput.from_source("keyboard")


def test_the_loop_moves_only_while_it_is_held_and_a_key_stops_it(rig, pipe):
    from lohovla.evaluate.realtime_episodes import read_operator

    file, write = pipe
    r = rig(0.05, safety={"deadman": True, "deadman_timeout": 0.2})
    hold = DeadmanInput(file, keys=True)
    collect = r.loop.on_tick
    held = [True]

    def tick(loop):
        collect(loop)
        if held[0]:
            write(b" ")
        read_operator(loop, hold)

    r.loop.on_tick = tick
    r.run(2.0)
    assert r.loop.mode == "run"
    held[0] = False
    r.run(0.1 + 0.2 + r.settings.stopping_time)
    assert r.loop.mode == "released"
    assert r.speed < 1e-3
    held[0] = True
    r.run(1.0)
    assert r.loop.mode == "run"
    write(b"x")
    r.run(r.settings.stopping_time)
    assert r.loop.mode == "emergency"
    assert r.speed < 1e-3
    assert "'x'" in r.loop.emergency.cause
    hold.close()
