"""Chunks as a path in time."""

import numpy as np
import pytest

from lohovla.control.chunks.chunk_blending import Setpoint
from lohovla.control.chunks.trajectory import Chunk, Trajectory, action_durations
from lohovla.control.motion_limits import MotionLimiter, MotionLimits

LIMITS = MotionLimits(low=(-1, -1, -1), high=(1, 1, 1))
ORIGIN = np.zeros(6)
UR = MotionLimits((-1, -1, -1), (1, 1, 1), 0.25, 1.5, 60.0, 0.8, 4.0, 60.0)


def chunk(number, xs, start=0.0, origin=ORIGIN, gripper=0.0, limits=LIMITS):
    actions = np.zeros((len(xs), 7))
    actions[:, 0], actions[:, 6] = xs, gripper
    return Chunk.from_actions(number, actions, start, 0.05, origin, limits)


def test_it_goes_through_its_targets_when_they_are_due():
    c = chunk(1, [0.01, 0.02, 0.025, 0.02, 0.02])
    for k, x in enumerate((0.0, 0.01, 0.02, 0.025, 0.02, 0.02)):
        assert c.setpoint_at(0.05 * k).pose[0] == pytest.approx(x, abs=1e-12)


def test_between_targets_it_never_leaves_them():
    rng = np.random.default_rng(0)
    xs = np.cumsum(rng.normal(0, 0.01, 16))
    c = chunk(1, xs)
    knots = np.concatenate([[0.0], xs])
    for t in np.linspace(c.times[0], c.times[-1], 999):
        k = min(np.searchsorted(c.times, t, side="right") - 1, 15)
        low, high = sorted(knots[k : k + 2])
        assert low - 1e-12 <= c.setpoint_at(t).pose[0] <= high + 1e-12


def test_its_velocity_and_acceleration_are_the_derivatives():
    c = chunk(1, [0.01, 0.03, 0.04, 0.045, 0.045])
    for t in (0.013, 0.07, 0.11, 0.16, 0.22):
        h = 1e-5
        before, now, after = c.setpoint_at(t - h), c.setpoint_at(t), c.setpoint_at(t + h)
        assert now.velocity[0] == pytest.approx((after.pose[0] - before.pose[0]) / (2 * h), rel=1e-5, abs=1e-9)
        assert now.acceleration[0] == pytest.approx(
            (after.velocity[0] - before.velocity[0]) / (2 * h), rel=1e-4, abs=1e-6
        )


def test_its_end_is_spread_out_so_that_it_comes_to_rest_there():
    fast = chunk(1, 0.06 * np.arange(1, 9))  # 1.2 m/s
    assert fast.times[:6] == pytest.approx(0.05 * np.arange(6))
    assert fast.rest_time > 0.43
    assert np.abs(fast.setpoint_at(fast.rest_time - 1e-6).velocity).max() < 1e-3
    slow = chunk(1, 0.005 * np.arange(1, 9))
    assert slow.rest_time == pytest.approx(0.4)


def test_the_gripper_acts_in_the_period_of_its_action():
    c = chunk(1, [0.0, 0.0, 0.0], gripper=[0.0, 1.0, 0.0])
    assert [c.setpoint_at(t).gripper for t in (0.02, 0.06, 0.09, 0.12)] == [0.0, 1.0, 1.0, 0.0]


def test_a_turn_through_half_a_circle_takes_the_short_way():
    actions = np.zeros((4, 7))
    actions[:, 5] = [3.1, 3.14, -3.1, -3.05]  # across pi
    c = Chunk.from_actions(1, actions, 0.0, 0.05, np.array([0, 0, 0, 0, 0, 3.05]), LIMITS)
    turns = [c.setpoint_at(t).pose[5] for t in np.linspace(0, c.rest_time, 50)]
    assert np.diff(turns).min() >= 0.0
    assert turns[-1] == pytest.approx(2 * np.pi - 3.05)


def test_another_chunk_takes_over_without_a_leap():
    track = Trajectory(blend_time=0.1)
    track.add_chunk(chunk(1, 0.01 * np.arange(1, 17)))
    before = [track.setpoint_at(t, ORIGIN).pose[0] for t in np.arange(0.0, 0.4, 0.001)]
    track.add_chunk(chunk(2, 0.05 + 0.01 * np.arange(1, 17), start=0.2, origin=ORIGIN))
    after = [track.setpoint_at(t, ORIGIN).pose[0] for t in np.arange(0.4, 0.8, 0.001)]
    steps = np.abs(np.diff(before + after))
    assert steps.max() < 0.0006  # 0.2 m/s of its own and the fade; a leap would be 10 mm
    assert after[-1] == pytest.approx(track.newest_chunk.setpoint_at(0.799).pose[0])


def test_where_another_chunk_takes_over_the_velocity_goes_on_too():
    track = Trajectory(blend_time=0.1)
    track.add_chunk(chunk(1, 0.01 * np.arange(1, 17)))
    track.setpoint_at(0.0, ORIGIN)
    before = track.setpoint_at(0.399, ORIGIN)
    assert before.velocity[0] > 0.15
    track.add_chunk(chunk(2, 0.08 - 0.01 * np.arange(1, 17), start=0.2, origin=ORIGIN))  # goes back
    moments = np.arange(0.4, 0.8, 0.001)
    points = [track.setpoint_at(t, ORIGIN) for t in moments]
    assert points[0].velocity[0] == pytest.approx(before.velocity[0], abs=0.005)
    path, velocity, acceleration = (np.array([getattr(p, n)[0] for p in points]) for n in Setpoint._fields[:3])
    middle = np.r_[2:45, 55:95]  # between knots
    np.testing.assert_allclose(np.gradient(path, 0.001)[middle], velocity[middle], atol=2e-3)
    np.testing.assert_allclose(np.gradient(velocity, 0.001)[middle], acceleration[middle], atol=0.3)
    assert points[-1].pose[0] == pytest.approx(track.newest_chunk.setpoint_at(0.799).pose[0])


def test_the_first_chunk_starts_from_the_last_command():
    track = Trajectory(blend_time=0.1)
    track.add_chunk(chunk(1, [0.3] * 8, origin=np.array([0.3, 0, 0, 0, 0, 0])))
    pose = np.array([0.25, 0, 0, 0, 0, 0])
    assert track.setpoint_at(0.1, pose).pose[0] == pytest.approx(0.25)
    assert track.setpoint_at(0.39, pose).pose[0] == pytest.approx(0.3)


def test_an_ensemble_is_the_weighted_mean_the_oldest_first():
    track = Trajectory(blend_time=0.05, temporal_ensemble_coeff=0.5)
    track.add_chunk(chunk(1, [0.1] * 16, origin=np.array([0.1, 0, 0, 0, 0, 0])))
    track.setpoint_at(0.0, ORIGIN)
    track.add_chunk(chunk(2, [0.2] * 16, start=0.2, origin=np.array([0.2, 0, 0, 0, 0, 0])))
    track.setpoint_at(0.25, ORIGIN)
    weights = np.exp([0.0, -0.5])
    expected = (weights @ [0.1, 0.2]) / weights.sum()
    assert track.setpoint_at(0.6, ORIGIN).pose[0] == pytest.approx(expected)
    track.setpoint_at(0.85, ORIGIN)
    assert track.setpoint_at(0.99, ORIGIN).pose[0] == pytest.approx(0.2, abs=0.02)  # the first has ended


def test_what_remains_is_aligned_to_the_new_observation():
    track = Trajectory(blend_time=0.1)
    track.add_chunk(chunk(1, 0.01 * np.arange(1, 17)))
    for t in np.arange(0, 0.3, 0.01):
        track.setpoint_at(t, ORIGIN)
    rows = track.remaining_actions(0.325, 16)
    assert len(rows) == 9
    np.testing.assert_allclose(rows[:, 0], 0.2 * (0.325 + 0.05 * np.arange(1, 10)), atol=1e-9)
    assert track.remaining_actions(0.79, 16) is None


def test_an_arm_that_can_follow_is_given_the_policys_own_time():
    ways = np.full((8, 6), 0.01)
    np.testing.assert_allclose(action_durations(ways, 0.05, UR), 0.05)
    np.testing.assert_allclose(action_durations(ways * 5.0, 0.05, LIMITS), 0.05)


def test_a_slow_arm_takes_longer_for_the_same_way():
    """0.06 m an action are 1.2 m/s, which an arm at 0.25 m/s takes five times as long for."""
    slow = chunk(1, 0.06 * np.arange(1, 9), limits=UR)
    assert np.diff(slow.due).min() > 0.06 / UR.velocity
    assert slow.last_action_time < 1.3 * 8 * 0.06 / UR.velocity
    for k, x in enumerate(0.06 * np.arange(1, 6), 1):
        assert slow.setpoint_at(slow.due[k]).pose[0] == pytest.approx(x)
    assert max(abs(slow.setpoint_at(t).velocity[0]) for t in np.arange(0.0, slow.rest_time, 0.01)) <= UR.velocity


@pytest.mark.parametrize("limits", [UR, MotionLimits((-1, -1, -1), (1, 1, 1), velocity=0.05)])
def test_within_its_limits_a_slow_arm_is_where_the_path_is(limits):
    """A way down, over the table and up, as fast as the simulated arm goes: unscaled, corners are cut."""
    down, over, turn = np.linspace(0.0, -0.2, 5)[1:], np.linspace(0.0, 0.3, 7)[1:], np.linspace(0.0, 0.5, 7)[1:]
    actions = np.zeros((14, 7))
    actions[:4, 2], actions[4:10, 2], actions[10:, 2] = down, -0.2, -0.2 - down
    actions[4:10, 0], actions[10:, 0] = over, 0.3
    actions[4:10, 5], actions[10:, 5] = turn, 0.5
    path = Chunk.from_actions(1, actions, 0.0, 0.05, ORIGIN, limits)
    limiter = MotionLimiter(limits, 0.01)
    limiter.reset(ORIGIN)
    apart = []
    for t in np.arange(0.01, path.rest_time + 0.3, 0.01):
        setpoint = path.setpoint_at(t)
        limiter.follow(setpoint.pose, setpoint.velocity, setpoint.acceleration)
        apart.append(np.abs(limiter.pose[:3] - setpoint.pose[:3]).max())
    assert max(apart) < 0.02
    assert apart[-1] < 0.001


def test_what_remains_for_a_slow_arm_is_what_it_has_not_done():
    """At the fourth of its actions, long after the four periods that the policy would have taken for them."""
    track = Trajectory(0.1)
    slow = chunk(1, 0.06 * np.arange(1, 9), limits=UR)
    track.add_chunk(slow)
    now = float(slow.due[4])
    for t in np.arange(0.0, now, 0.01):
        track.setpoint_at(t, ORIGIN)
    assert now > 0.8
    np.testing.assert_allclose(track.remaining_actions(now, 16)[:, 0], 0.06 * np.arange(5, 9), atol=1e-9)
    assert track.action_duration(now + 1e-6) == pytest.approx(slow.due[5] - slow.due[4])
