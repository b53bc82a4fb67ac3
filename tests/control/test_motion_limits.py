"""The limits hold on every command, whatever is asked for."""

from dataclasses import replace

import numpy as np
import pytest

from lohovla.control.motion_limits import AxisLimiter, MotionLimiter, MotionLimits

LIMITS = MotionLimits(low=(0.18, -0.58, -0.005), high=(0.82, 0.58, 0.60))
RATES = (20.0, 100.0, 500.0)


def check(poses: np.ndarray, dt: float, limits: MotionLimits = LIMITS) -> None:
    """Every limit, on the differences of consecutive poses (n, 6)."""
    assert (poses[:, :3] >= np.array(limits.low) - 1e-9).all()
    assert (poses[:, :3] <= np.array(limits.high) + 1e-9).all()
    poses = np.vstack([poses[:1]] * 3 + [poses])
    for order, move, turn in (
        (1, limits.velocity, limits.turn_velocity),
        (2, limits.acceleration, limits.turn_acceleration),
        (3, limits.jerk, limits.turn_jerk),
    ):
        rate = np.abs(np.diff(poses, order, axis=0)) / dt**order
        slack = 1e-12 / dt**order  # differences of numbers of order one
        assert rate[:, :3].max() <= move * (1 + 1e-9) + slack
        assert rate[:, 3:].max() <= turn * (1 + 1e-9) + slack


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seed", range(3))
def test_no_target_makes_it_break_a_limit(rate, seed):
    rng = np.random.default_rng(seed)
    limiter = MotionLimiter(LIMITS, 1 / rate)
    start = np.array([0.5, 0.0, 0.3, 0.0, 0.0, 0.0])
    limiter.reset(start)
    poses, target = [start], start
    for _ in range(1500):
        kind = rng.integers(12)
        if kind == 0:  # anywhere, far outside too
            target = np.concatenate([rng.uniform(-1, 1, 3) * 1.5, rng.uniform(-7, 7, 3)])
        elif kind == 1:  # at a wall
            target = np.concatenate([np.where(rng.random(3) < 0.5, LIMITS.low, LIMITS.high), rng.uniform(-1, 1, 3)])
        if kind == 2:
            limiter.brake()
        else:
            wild = rng.random() < 0.1
            limiter.follow(target, rng.normal(0, 5.0 * wild, 6), rng.normal(0, 50.0 * wild, 6))
        poses.append(limiter.pose)
    check(np.array(poses), 1 / rate)


@pytest.mark.parametrize("rate", RATES)
def test_the_bound_on_a_brake_is_a_bound(rate):
    rng = np.random.default_rng(1)
    axis = AxisLimiter(-1e9, 1e9, 1.5, 15.0, 600.0, 1 / rate)
    for _ in range(500):
        v, a = rng.uniform(-1.5, 1.5) * rng.random(), rng.uniform(-15, 15) * rng.random()
        bound = axis._reach(v, a)
        axis.p, axis.v, axis.a = 0.0, v, a
        highest = 0.0
        for _ in range(2000):
            axis.brake()
            highest = max(highest, axis.p)
            if axis.v == 0.0 and axis.a == 0.0:
                break
        assert highest <= bound + 1e-12


@pytest.mark.parametrize("rate", RATES)
def test_a_brake_ends_at_rest_within_the_stated_time(rate):
    rng = np.random.default_rng(2)
    limiter = MotionLimiter(LIMITS, 1 / rate)
    longest = 0
    for _ in range(40):
        limiter.reset(np.array([0.5, 0.0, 0.3, 0.0, 0.0, 0.0]))
        far = np.concatenate([rng.uniform(-2, 2, 3), rng.uniform(-9, 9, 3)])
        for _ in range(rng.integers(1, round(rate))):
            limiter.follow(far, np.zeros(6), np.zeros(6))
        steps = 0
        while not limiter.resting:
            limiter.brake()
            steps += 1
        longest = max(longest, steps)
    assert longest / rate <= LIMITS.stopping_time(1 / rate)


@pytest.mark.parametrize("rate", [100.0, 500.0])
def test_a_target_within_the_limits_is_followed_without_lag(rate):
    limiter, dt = MotionLimiter(LIMITS, 1 / rate), 1 / rate
    errors = []
    for k in range(round(3 * rate)):
        t = k * dt
        ease = 0.5 - 0.5 * np.cos(min(t, 1.0) * np.pi)
        swing, speed, push = 0.1 * np.sin(4 * t), 0.4 * np.cos(4 * t), -1.6 * np.sin(4 * t)
        target = np.array([0.5 + ease * swing, 0.0, 0.3, 0.0, 0.0, ease * 5 * swing])
        if k == 0:
            limiter.reset(target)
            continue
        scale = np.array([1, 0, 0, 0, 0, 5.0]) * (t >= 1.0)
        limiter.follow(target, scale * speed, scale * push)
        if t > 1.2:
            errors.append(np.abs(limiter.pose - target).max())
    assert max(errors) < 2e-3  # rad; a fifth of it in metres


def test_it_comes_to_a_resting_target_without_overshoot_and_stays():
    limiter = MotionLimiter(LIMITS, 0.01)
    limiter.reset(np.array([0.3, 0.0, 0.3, 0.0, 0.0, 0.0]))
    target = np.array([0.7, 0.0, 0.3, 0.0, 0.0, 0.0])
    path = []
    for _ in range(150):
        limiter.follow(target, np.zeros(6), np.zeros(6))
        path.append(limiter.pose[0])
    assert max(path) < 0.7 + 5e-4
    assert abs(path[-1] - 0.7) < 1e-6
    reached = next(k for k, x in enumerate(path) if x > 0.69)
    assert reached < 60  # 0.4 m in 0.6 s


@pytest.mark.parametrize("velocity", [1.5, 0.25, 0.1, 0.05, 0.02, 0.003])
def test_an_arm_that_may_only_be_slow_arrives_nearly_as_soon_as_that_speed_allows(velocity):
    limiter = MotionLimiter(replace(LIMITS, velocity=velocity), 0.02)  # a step at full jerk alone would reach 0.24 m/s
    limiter.reset(np.array([0.5, 0.0, 0.3, 0.0, 0.0, 0.0]))
    target = np.array([0.5, 0.2, 0.3, 0.0, 0.0, 0.0])
    fastest, steps = 0.0, 0
    while abs(limiter.pose[1] - 0.2) > 1e-3 or not limiter.resting:
        held = limiter.follow(target, np.zeros(6), np.zeros(6))
        fastest, steps = max(fastest, limiter.velocity[1]), steps + 1
        assert steps * 0.02 < 1.05 * 0.2 / velocity + 1.0
        assert held or limiter.velocity[1] < velocity  # while the limit holds it back it says so
    assert 0.99 * velocity < fastest < velocity + 1e-9


def test_a_start_outside_may_only_come_in():
    limiter = MotionLimiter(LIMITS, 0.01)
    limiter.reset(np.array([0.5, 0.0, 0.65, 0.0, 0.0, 0.0]))
    heights = []
    for target in [0.9] * 50 + [0.3] * 100 + [0.9] * 100:
        limiter.follow(np.array([0.5, 0.0, target, 0, 0, 0]), np.zeros(6), np.zeros(6))
        heights.append(limiter.pose[2])
    assert max(heights) <= 0.65 + 1e-12
    assert max(heights[160:]) <= 0.60 + 1e-9
