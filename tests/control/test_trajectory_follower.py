"""A trajectory is followed, held at its end, and given up when nothing new comes or it is too old."""

import numpy as np

from lohovla.control.chunks.chunk_handover import AcceptedChunk
from lohovla.control.chunks.trajectory import Chunk, Trajectory
from lohovla.control.event_log import EventLog
from lohovla.control.latency_stats import LatencyStats
from lohovla.control.motion_limits import MotionLimiter, MotionLimits
from lohovla.control.settings import LoopSettings
from lohovla.control.trajectory_follower import TrajectoryFollower

LIMITS = MotionLimits(low=(-1, -1, -1), high=(1, 1, 1))


def begin(expires):
    settings = LoopSettings()
    limiter, log = MotionLimiter(LIMITS, settings.period), EventLog()
    limiter.reset(np.zeros(6))
    follower = TrajectoryFollower(Trajectory(settings.blend_time, None), limiter, settings, log, LatencyStats())
    actions = np.zeros((10, 7))
    actions[:, 0], actions[:, 6] = 0.002 * np.arange(1, 11), 1.0
    follower.add_chunk(AcceptedChunk(Chunk.from_actions(1, actions, 0.0, 0.05, np.zeros(6), LIMITS), True, expires))
    return follower, limiter, log, settings


def modes(follower, settings, seconds):
    found = []
    for step in range(round(seconds / settings.period)):
        mode = follower.follow(step * settings.period, (step + 1) * settings.period)
        found += [mode] if found[-1:] != [mode] else []
    return found


def test_at_its_end_it_holds_and_then_stops():
    follower, limiter, log, settings = begin(expires=100.0)
    assert modes(follower, settings, 0.5 + settings.safety.hold_timeout + 0.5) == ["run", "hold", "stop"]
    assert abs(limiter.pose[0] - 0.02) < 1e-3
    assert (follower.gripper, follower.chunks) == (1.0, 1)
    assert [event.kind for event in log.events] == ["hold", "stop"]


def test_what_is_too_old_is_not_followed():
    follower, limiter, log, settings = begin(expires=0.2)
    assert modes(follower, settings, 1.0) == ["run", "stop"]
    assert limiter.pose[0] < 0.015
    assert log.events[0].cause == "what the path was decided on is too old"


def test_before_the_first_chunk_it_waits():
    follower, _, _, settings = begin(expires=100.0)
    follower.begin_episode(0.0)
    assert modes(follower, settings, 0.2) == ["wait"]
    assert follower.chunks == 0
