"""Models in processes and threads of their own: killed, stuck, raising, and never in the way."""

import os
import signal
import time
from functools import partial

import numpy as np
import pytest

from lohovla.control.clock import WallClock
from lohovla.control.inference.inference_messages import InferenceRequest
from lohovla.control.inference.inference_worker import BackgroundWorker
from lohovla.control.loop import ControlLoop
from lohovla.control.settings import LoopSettings, SafetySettings
from lohovla.control.simulated_robots import KinematicArm
from lohovla.errors import UserError
from lohovla.policies.random_waypoints import RandomWaypointPolicy

POSE = np.array([0.5, 0.0, 0.3, 0.0, 0.0, 0.0])
SEEN = {"state": np.zeros(7, np.float32), "instruction": ""}


def broken():
    raise RuntimeError("no weights")


def wait_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def answer(worker, job):
    wait_for(lambda: worker.state == "idle")
    worker.submit(job, 0.0)
    replies = []
    wait_for(lambda: replies.extend(worker.poll(0.0)) or replies)
    return replies[0]


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_it_answers_as_the_policy_itself_does(kind):
    worker = BackgroundWorker(RandomWaypointPolicy, kind)
    try:
        assert worker.wait() == RandomWaypointPolicy().spec
        assert answer(worker, InferenceRequest(1, "reset", 0, 0.0, seed=3)).error == ""
        plan = answer(worker, InferenceRequest(2, "plan", 0, 0.0, observation=SEEN)).result
        policy = RandomWaypointPolicy()
        policy.reset(3)
        mine = policy.plan(SEEN, None)
        assert plan.subtask == mine.subtask
        got = answer(worker, InferenceRequest(3, "chunk", 0, 0.0, observation=SEEN, plan=plan)).result.actions
        np.testing.assert_array_equal(got, policy.chunk(SEEN, None, mine).actions)
        reply = answer(worker, InferenceRequest(4, "chunk", 0, 0.0, observation={}, plan=plan))
        assert "KeyError" in reply.error
        assert worker.state == "idle"
    finally:
        worker.close()


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_a_model_that_cannot_be_built_says_why(kind):
    worker = BackgroundWorker(broken, kind)
    with pytest.raises(UserError, match="no weights"):
        worker.wait()
    worker.close()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_or_stopped_process_is_survived(sign):
    """On the wall clock: commands go on, the model comes back, the arm moves again."""
    worker = BackgroundWorker(RandomWaypointPolicy, "process")
    spec = worker.wait()
    safety = SafetySettings(
        model_timeout=1.0, plan_timeout=1.0, clock_jump_threshold=5.0, hold_timeout=0.2
    )  # the test machine may be busy
    arm, clock = KinematicArm(POSE), WallClock()
    loop = ControlLoop(arm, spec, worker, LoopSettings(command_hz=50.0, safety=safety), clock)
    try:
        loop.start(1)
        began = clock.now()
        loop.run(lambda: len(loop.latency_stats.chunks) >= 3 or clock.now() - began > 60.0)
        assert len(loop.latency_stats.chunks) >= 3
        first = worker.pid
        os.kill(first, sign)
        struck, alone = clock.now(), []
        loop.on_tick = lambda loop: alone.append(loop.last_command.number) if worker.state == "starting" else None
        loop.run(lambda: len(loop.latency_stats.chunks) >= 6 or clock.now() - struck > 60.0)
        assert len(loop.latency_stats.chunks) >= 6
        assert worker.pid != first
        assert loop.log.counts["model died"] + loop.log.counts["model stuck"] >= 1
        assert len(alone) >= 5  # commands while there was no model; the slower the machine, the more
    finally:
        worker.close()
    wait_for(lambda: not alive(first))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().split()[2] != "Z"


def test_asking_never_waits_for_a_stopped_process():
    worker = BackgroundWorker(RandomWaypointPolicy, "process")
    worker.wait()
    try:
        os.kill(worker.pid, signal.SIGSTOP)
        seen = {"state": np.zeros(7, np.float32), "images.wrist": np.zeros((2000, 2000, 3), np.uint8)}  # fills any pipe
        began = time.perf_counter()
        worker.submit(InferenceRequest(1, "plan", 0, 0.0, observation=seen), 0.0)
        assert worker.poll(0.0) == []
        assert time.perf_counter() - began < 10.0  # else for ever
        assert worker.state == "busy"
        worker.restart(0.0)
        assert worker.wait() == RandomWaypointPolicy().spec
    finally:
        worker.close()


def test_a_thread_serves_the_loop_too():
    worker = BackgroundWorker(partial(RandomWaypointPolicy, 20.0, 16), "thread")
    loop = ControlLoop(
        KinematicArm(POSE),
        worker.wait(),
        worker,
        LoopSettings(safety=SafetySettings(clock_jump_threshold=5.0)),
        clock := WallClock(),
    )
    loop.start(1)
    began = clock.now()
    loop.run(lambda: len(loop.latency_stats.chunks) >= 3 or clock.now() - began > 60.0)
    assert len(loop.latency_stats.chunks) >= 3
    worker.close()


def refused():
    raise UserError("the model is not there", "train one")


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_what_a_person_can_put_right_is_said_as_it_was(kind):
    worker = BackgroundWorker(refused, kind)
    with pytest.raises(UserError) as error:
        worker.wait()
    assert (error.value.cause, error.value.remedy) == ("the model is not there", "train one")
    worker.close()
