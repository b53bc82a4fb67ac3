"""Guards, switches and watchdogs: each fault ends in a hold or a stop, and is logged with its cause."""

from dataclasses import replace

import numpy as np
import pytest

from lohovla.control.event_log import EventLog
from lohovla.control.safety.command_receiver import Command, CommandReceiver
from lohovla.control.safety.interlocks import Deadman, EmergencyStop, bound_changes, fault_of
from lohovla.control.settings import LoopSettings, SafetySettings
from lohovla.policies.base import Decision
from lohovla.policies.random_waypoints import RandomWaypointPolicy

SPEC = RandomWaypointPolicy().spec
GOOD = np.zeros((16, 7), np.float32)


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (Decision(GOOD), ""),
        (Decision(GOOD[:3]), ""),
        (Decision(np.where(np.arange(7) == 2, np.nan, GOOD)), r"actions[0, 2] is nan"),
        (Decision(GOOD[:, :6]), "shape (16, 6)"),
        (Decision(GOOD[0]), "shape (7,)"),
        (Decision(GOOD[:0]), "shape (0, 7)"),
        (Decision(GOOD, progress=np.inf), "progress is inf"),
        (Decision("words"), "not a decision"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_chunk_is_named(decision, words):
    assert words in fault_of(decision, SPEC)
    assert bool(fault_of(decision, SPEC)) == bool(words)


def test_leaping_actions_are_brought_near_the_ones_before():
    safety = SafetySettings(max_step=0.1, max_turn_step=0.5)
    actions = np.zeros((3, 7))
    actions[1] = [0.5, 0, 0, 0, 0, 2.0, 3.0]
    bounded, moved = bound_changes(actions, np.zeros(6), safety)
    np.testing.assert_allclose(bounded[:, 0], [0.0, 0.1, 0.0])
    np.testing.assert_allclose(bounded[:, 5], [0.0, 0.5, 0.0])
    assert bounded[1, 6] == 1.0
    assert moved == 1


def test_a_press_holds_for_a_while():
    deadman = Deadman(0.2)
    assert not deadman.held(0.0)
    deadman.press(1.0)
    assert deadman.held(1.2)
    assert not deadman.held(1.21)
    assert not deadman.held(0.5)  # the clock went back
    deadman.press(2.0)
    deadman.release()
    assert not deadman.held(2.0)


def test_the_emergency_stop_latches_and_keeps_its_first_cause():
    stop = EmergencyStop()
    stop.trigger("button")
    stop.trigger("other")
    assert stop.cause == "button"
    stop.release()
    assert not stop


def test_without_the_deadman_nothing_moves_and_letting_go_stops(rig):
    r = rig(0.05, safety={"deadman": True})
    r.run(0.5)
    assert r.loop.mode == "released"
    assert not r.jobs
    for _ in range(20):
        r.loop.deadman.press(r.clock.now())
        r.run(0.1)
    assert r.way > 0.05
    r.run(r.settings.safety.deadman_timeout + r.settings.stopping_time)
    assert r.speed < 1e-9
    assert r.counts["deadman"] == 2
    for _ in range(10):
        r.loop.deadman.press(r.clock.now())
        r.run(0.1)
    assert r.way > 0.05


def test_an_emergency_stop_stays_until_a_person_releases_it(rig):
    r = rig(0.05)
    r.run(1.5)
    r.loop.stop("button")
    r.run(r.settings.stopping_time)
    assert r.speed < 1e-9
    r.run(3.0)
    assert (r.speed, r.loop.mode) == (0.0, "emergency")
    event = next(e for e in r.loop.log.events if e.kind == "emergency stop")
    assert (event.cause, event.time) == ("button", pytest.approx(1.5, abs=0.011))
    r.loop.release()
    r.run(1.5)
    assert r.way > 0.05


def test_actions_run_out_hold_then_stop_and_go_on_when_the_model_is_back(rig):
    r = rig(lambda job, now: np.inf if 1.0 < now < 3.0 else 0.05, safety={"hold_timeout": 0.3, "model_timeout": 3.0})
    r.run(1.0)
    modes = []
    for _ in range(300):
        r.run(0.01)
        modes.append(r.loop.mode)
    order = [m for k, m in enumerate(modes) if k == 0 or m != modes[k - 1]]
    assert order == ["run", "hold", "stop"]
    assert r.counts["hold"] == r.counts["stop"] == 1
    assert r.speed < 1e-9
    r.run(2.5)
    assert r.counts["model stuck"] == 1
    assert r.loop.mode == "run"


def test_a_chunk_that_is_older_than_allowed_is_not_carried_out(rig):
    r = rig(lambda job, now: 1.0 if job.kind == "chunk" else 0.0, safety={"stale_after": 0.9, "model_timeout": 5.0})
    r.run(4.0)
    assert r.counts["stale chunk"] >= 2
    assert not r.loop.latency_stats.chunks
    assert max(np.abs(c.velocity).max() for c in r.commands) == 0.0


def test_a_model_that_dies_again_and_again_ends_in_the_emergency_stop(rig):
    r = rig(lambda job, now: np.nan if now > 1.0 else 0.05, safety={"restarts": 2})
    r.run(4.0)
    assert r.counts["model died"] == 2
    assert r.loop.mode == "emergency"
    assert "lost 3 times" in r.loop.emergency.cause


def test_a_nan_is_refused_and_the_next_chunk_taken(rig):
    def tamper(job, reply):
        if job.kind == "chunk" and 1.0 < job.taken < 1.6:
            actions = reply.result.actions.copy()
            actions[3, 1] = np.nan
            return replace(reply, result=replace(reply.result, actions=actions))
        return reply

    r = rig(0.05, tamper=tamper)
    r.run(3.0)
    assert r.counts["bad chunk"] >= 1
    assert "actions[3, 1] is nan" in next(e.cause for e in r.loop.log.events if e.kind == "bad chunk")
    assert r.loop.mode == "run"
    assert np.isfinite([c.pose for c in r.commands]).all()


def command(number, x, now, mode="run"):
    return Command(number, now, np.array([x, 0, 0.3, 0, 0, 0]), np.zeros(6), np.zeros(6), 0.0, mode)


def receiver():
    log = EventLog()
    side = CommandReceiver(LoopSettings().limits, 0.01, 0.1, log)
    side.start(np.array([0.4, 0, 0.3, 0, 0, 0]), 0.0, 0.0)
    return side, log


def test_the_receiver_brakes_when_commands_cease_and_goes_on_when_they_return():
    side, log = receiver()
    path = []
    for k in range(200):
        now = 0.01 * k
        if k < 20 or k > 120:
            side.receive(command(k, 0.8, now), now)
        path.append(side.target(now)[0])
    speed = np.abs(np.diff(path)) / 0.01
    assert speed[19] > 0.5
    assert speed[20 + 11 + 30] == 0.0  # the watchdog's 0.1 s and the brake
    assert path[80] < 0.79
    assert path[-1] == pytest.approx(0.8, abs=1e-3)
    assert log.counts["watchdog"] == 1


def test_the_receiver_refuses_garbage_and_what_is_out_of_order():
    side, log = receiver()
    good = command(5, 0.5, 0.0)
    side.receive(good, 0.0)
    side.receive(replace(good, number=6, pose=good.pose * np.nan), 0.0)
    side.receive(replace(good, number=7, pose=good.pose[:3]), 0.0)
    side.receive(replace(good, number=4), 0.0)
    assert log.counts["refused command"] == 3
    for k in range(100):
        side.receive(command(6 + k, 0.5, 0.01 * k), 0.01 * k)
        side.target(0.01 * k)
    assert side.limiter.pose[0] == pytest.approx(0.5, abs=1e-6)


def test_the_receiver_brakes_at_once_in_an_emergency():
    side, _ = receiver()
    for k in range(30):
        side.receive(command(k, 0.8, 0.01 * k), 0.01 * k)
        side.target(0.01 * k)
    steps = 0
    while not side.limiter.resting:
        side.receive(command(30 + steps, 0.8, 0.3, "emergency"), 0.3)
        side.target(0.3)
        steps += 1
    assert 0.01 * steps <= LoopSettings().limits.stopping_time(0.01)
