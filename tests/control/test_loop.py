"""The loop in simulated time: joining, delays, resets, clocks."""

from dataclasses import replace

import numpy as np
import pytest

from lohovla.benchmarks.control.faults import violations
from lohovla.control.event_log import EventLog
from lohovla.control.motion_limits import MotionLimits
from lohovla.control.settings import CHUNKING_MODES, REACH, LoopSettings
from lohovla.control.simulated_robots import TimedObservation
from lohovla.errors import UserError
from lohovla.policies.base import Decision, Policy, PolicySpec
from lohovla.policies.random_waypoints import RandomWaypointPolicy
from lohovla.policies.realtime_policy import SubtaskPlan


def path(rig):
    return np.array([command.pose for command in rig.commands])


@pytest.mark.parametrize("join", CHUNKING_MODES)
@pytest.mark.parametrize("delay", [0.0, 0.2, 0.5])
def test_the_arm_gets_on_and_no_chunk_makes_it_leap(rig, join, delay):
    r = rig(delay, chunking_mode=join)
    plans = []
    r.loop.on_subtask = plans.append
    r.run(6.0)
    assert len(plans) >= 2
    assert max(r.loop.latency_stats.handover_jumps) < 0.002  # m, beyond the motion that goes on anyway
    assert violations(path(r), r.settings.period, r.settings.limits) == []
    assert violations(np.array(r.arm.targets), 0.01, r.settings.limits) == []
    assert np.linalg.norm(np.diff(path(r)[:, :3], axis=0), axis=1).sum() > 0.4


def test_the_same_seed_gives_the_same_bytes(rig):
    first, second = (rig(0.13, chunking_mode="rtc") for _ in range(2))
    first.run(3.0)
    second.run(3.0)
    assert path(first).tobytes() == path(second).tobytes()


def test_commands_keep_their_rate_whatever_the_model_takes(rig):
    r = rig(lambda job, now: 0.37 if job.kind == "chunk" else 1.9, command_hz=50.0)
    r.run(4.0)
    assert len(r.commands) == pytest.approx(200, abs=1)
    np.testing.assert_allclose(np.diff(r.loop.latency_stats.command_times), 0.02, atol=1e-9)


def test_the_delay_is_measured_and_frozen_actions_are_those_being_carried_out(rig):
    r = rig(0.2, chunking_mode="rtc-trained")
    r.run(3.0)
    asked = [job for job in r.jobs if job.kind == "chunk"][3:]
    assert {job.inference_delay for job in asked} == {4}
    for job in asked:
        for k in range(job.inference_delay):  # the prefix is what the path will be, in the moments it is meant for
            moment = job.taken + (k + 1) / 20
            sent = min(r.commands, key=lambda command: abs(command.time - moment))
            if abs(sent.time - moment) < 1e-6:
                assert np.abs(sent.pose[:3] - job.prefix[k, :3]).max() < 0.003


def test_in_sync_the_arm_rests_while_the_model_thinks(rig):
    r = rig(0.3, chunking_mode="sync", n_action_steps=6)
    r.run(4.0)
    asked = [job.taken for job in r.jobs if job.kind == "chunk"]
    for taken, joined in r.loop.latency_stats.chunks:
        during = [c for c in r.commands if taken + 0.1 < c.time < joined]
        assert during
        assert max(np.abs(c.velocity).max() for c in during) < 0.02
    assert all(job.prefix is None for job in r.jobs)
    assert np.diff(asked).min() > 0.3


def test_a_new_chunk_comes_after_as_many_actions_as_set(rig):
    r = rig(0.1, chunking_mode="rtc-trained", n_action_steps=5)
    r.run(4.0)
    joined = [j for _, j in r.loop.latency_stats.chunks]
    steady = np.diff(joined)[4:]
    assert np.median(steady) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("age", [0.0, 0.2])
def test_a_picture_that_comes_late_makes_no_chunk_leap(rig, age):
    """A chunk begins at the moment of what it was decided on, and with what was commanded then."""
    policy = Straight()
    r = rig(0.05, policy=policy, safety={"camera_stale": 0.3, "max_step": 0.008})
    seen = {}

    def observe(now, world):
        fresh = TimedObservation({"state": np.append(r.arm.pose(), 0.0), "instruction": "on"}, now)
        seen[round(now, 6)] = fresh
        old = [moment for moment in seen if moment <= now - age + 1e-9]
        return seen[max(old)] if old else fresh

    r.arm.observe = observe
    on_tick = r.loop.on_tick
    r.loop.on_tick = lambda loop: (on_tick(loop), observe(loop.clock.now(), False))
    r.run(3.0)
    assert r.counts.get("change bound", 0) == 0, r.counts
    y = path(r)[:, 1]
    np.testing.assert_allclose(np.diff(y[60:250]) / 0.01, 0.1, atol=0.02)
    for place, commanded in policy.told[4:]:  # what it was told is of the moment of its picture too
        assert abs(commanded[1, 1] - place[1]) < 0.003


class Straight(Policy):
    """Goes 1 cm an action along x from wherever the tool is, in offsets."""

    def __init__(self, horizon=16):
        self.spec = PolicySpec(("state",), "ee", (7,), horizon, 20.0, relative=True, prefix=True)
        self.seen, self.told = [], []

    def reset(self, seed, slot=0):
        pass

    def plan(self, observation, context):
        return SubtaskPlan("on")

    def chunk(self, observation, context, plan, prefix=None, inference_delay=0):
        self.seen.append((observation["state"][:3].copy(), prefix))
        self.told.append((observation["state"][:3].copy(), context.commanded))
        actions = np.zeros((self.spec.horizon, 7), np.float32)
        actions[:, 1] = 0.005 * np.arange(1, self.spec.horizon + 1)
        if prefix is not None:
            actions[: len(prefix)] = prefix
            last = prefix[-1, 1]
            more = self.spec.horizon - len(prefix)
            actions[len(prefix) :, 1] = last + 0.005 * np.arange(1, more + 1)
        return Decision(actions)

    def act(self, observation, context):
        return self.chunk(observation, context, SubtaskPlan())


def test_relative_actions_are_anchored_to_their_own_observation(rig):
    policy = Straight()
    r = rig(0.1, policy=policy)
    r.run(3.0)
    y = path(r)[:, 1]
    steady = np.diff(y[60:250]) / 0.01
    np.testing.assert_allclose(steady, 0.1, atol=0.02)  # m/s: 5 mm an action, never back, never a leap
    for place, prefix in policy.seen[2:]:
        # In the frame of the new observation, what remains begins about where the tool is.
        assert abs(prefix[0, 1] - 0.005) < 0.006
        assert place[1] >= 0.0


def test_after_a_wait_the_next_chunk_goes_on_where_the_old_one_ended(rig):
    """A model too slow for its horizon makes the arm wait; no action is skipped, so nothing has to be caught up."""
    r = rig(0.6, policy=Straight())
    r.run(6.0)
    assert r.counts["hold"] >= 3
    way = path(r)[:, 1]
    assert (np.diff(way) / 0.01).max() < 0.15  # m/s; the policy goes at 0.1
    assert way[-1] > 0.25


def test_a_reset_discards_what_is_in_flight(rig):
    r = rig(0.4, chunking_mode="rtc-trained")
    r.run(2.0)
    assert r.worker.state == "busy"
    before = r.loop.latency_stats.chunks[-1]
    plans = []
    r.loop.on_subtask = plans.append
    r.loop.reset(8)
    r.run(0.4)
    assert r.loop.latency_stats.chunks[-1] == before  # the old answer came and was thrown away
    assert r.counts["late answer"] == 1
    assert r.speed < 1e-3
    r.run(2.0)
    fresh = RandomWaypointPolicy()
    fresh.reset(8)
    assert plans[0] == fresh.plan({}, None).subtask
    assert violations(path(r), r.settings.period, r.settings.limits) == []


def test_a_subtask_is_planned_again_when_the_model_calls_it_done(rig):
    r = rig(0.05, success_threshold=0.95)
    r.run(5.0)
    plans = [job for job in r.jobs if job.kind == "plan"]
    assert len(plans) >= 2
    goal = next(job.plan.memory for job in r.jobs if job.kind == "chunk")
    place = np.array([job.observation["state"][:3] for job in plans[1:2]])
    assert np.linalg.norm(place - goal[:3]) < 0.06


def test_a_subtask_that_never_ends_is_planned_again_after_two_failures(rig):
    r = rig(0.05, success_threshold=2.0, subtask_timeout=0.7, max_subtask_failures=1)
    r.run(4.0)
    moments = [job.taken for job in r.jobs if job.kind == "plan"]
    assert len(moments) == 3
    np.testing.assert_allclose(np.diff(moments), 1.4, atol=0.25)
    assert r.counts["gave up"] == 2


def test_progress_by_the_reward(rig):
    r = rig(0.05, progress="reward")
    r.run(1.5)
    assert len([job for job in r.jobs if job.kind == "plan"]) == 1
    r.arm.reward = 0.5
    r.run(0.5)
    assert len([job for job in r.jobs if job.kind == "plan"]) == 2


@pytest.mark.parametrize("jump", [3.0, -3.0, 0.4])
def test_after_a_jump_of_the_clock_it_brakes_and_begins_with_a_fresh_chunk(rig, jump):
    r = rig(0.1)
    r.run(2.0)
    r.clock.jump(jump)
    r.arm.shift(jump)
    old = len(r.loop.latency_stats.chunks)
    r.run(0.05)
    assert r.counts["clock jump"] == 1
    assert r.loop.mode == "stop"
    r.run(2.0)
    assert len(r.loop.latency_stats.chunks) > old + 2
    assert violations(path(r), r.settings.period, r.settings.limits) == []


def test_a_late_command_is_left_out_not_caught_up(rig):
    r = rig(0.1)
    r.run(1.0)
    tick, count = r.loop.tick, len(r.commands)

    def slow():
        tick()
        if len(r.commands) == count + 5:
            r.clock.jump(0.045)

    r.loop.tick = slow
    r.run(1.0)
    assert r.loop.latency_stats.missed_commands == 3
    assert r.counts["missed"] == 1
    gaps = np.diff(r.loop.latency_stats.command_times)
    assert gaps.min() > 0.0049  # no burst
    assert "clock jump" not in r.counts


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"chunking_mode": "rtk"}, "did you mean 'rtc'"),
        ({"command_hz": 1000.0}, "between 20 and 500"),
        ({"n_action_steps": 0}, "at least 1"),
        ({"limits": {"jerk": 0.0}}, "jerk must be above 0"),
        ({"safety": {"stale": 1.0}}, "has no setting 'stale'"),
        ({"limit": {}}, "loop has no setting 'limit'"),
        ({"join": "rtc"}, "loop.join is called loop.chunking_mode now"),
        ({"safety": {"late": 1.0}}, "loop.safety.late is called loop.safety.clock_jump_threshold now"),
    ],
)
def test_bad_settings_say_what_would_do(settings, words):
    with pytest.raises(UserError, match=words):
        LoopSettings.from_config(settings)


def test_a_policy_without_prefixes_cannot_be_joined_as_trained(rig):
    class Plain(RandomWaypointPolicy):
        def __init__(self):
            super().__init__()
            self.spec = PolicySpec(("state",), "ee", (7,), 16, 20.0)

    with pytest.raises(UserError, match="not trained to continue"):
        rig(policy=Plain(), chunking_mode="rtc-trained")


class Asked(RandomWaypointPolicy):
    """Remembers the contexts of its chunks."""

    def __init__(self):
        super().__init__()
        self.contexts = []

    def chunk(self, observation, context, plan, prefix=None, inference_delay=0):
        self.contexts.append(context)
        return super().chunk(observation, context, plan, prefix, inference_delay)


def test_a_policy_hears_the_time_in_actions_the_reward_since_it_was_asked_and_the_last_commands(rig):
    policy = Asked()
    r = rig(0.2, policy)
    r.run(1.0)
    r.arm.reward += 0.25
    r.run(1.0)
    r.arm.reward += 0.5
    r.run(1.0)
    jobs = [job for job in r.jobs if job.kind == "chunk"]
    assert [context.step for context in policy.contexts] == [int(job.taken * 20 + 1e-6) for job in jobs]
    assert [context.reward for context in policy.contexts if context.reward] == [0.25, 0.5]
    sent = {round(command.time, 6): command.pose for command in r.commands}
    for job, context in list(zip(jobs, policy.contexts, strict=True))[2:]:
        for ago, row in zip((0.05, 0.0), context.commanded, strict=True):
            np.testing.assert_allclose(row[:6], sent[round(job.taken - ago, 6)], atol=1e-6)


def test_on_a_slow_arm_the_command_before_is_that_of_an_action_ago(rig):
    """Its actions take longer than a period: one period ago it seems to stand."""

    class Onwards(Asked):
        """Sixteen actions of 0.04 m: 0.8 m/s."""

        def chunk(self, observation, context, plan, prefix=None, inference_delay=0):
            decision = super().chunk(observation, context, plan, prefix, inference_delay)
            actions = np.tile(observation["state"][:7], (16, 1))
            actions[:, 0] += 0.04 * np.arange(1, 17)
            return replace(decision, actions=actions.astype(np.float32))

    policy = Onwards()
    limits = MotionLimits((-9.0, -1.0, 0.0), (9.0, 1.0, 1.0), velocity=0.1, turn_velocity=0.8)
    r = rig(0.05, policy, limits=limits, safety={"stale_after": 30.0})
    r.run(4.0)
    moves = [float(context.commanded[1, 0] - context.commanded[0, 0]) for context in policy.contexts[3:]]
    assert moves
    assert min(moves) > 0.03


class Motions(Policy):
    """Chunks that stay at home, but for one that begins a motion along x."""

    def __init__(self):
        self.spec = PolicySpec(("state",), "ee", (7,), 16, 20.0, prefix=True)
        self.turn = -1

    def act(self, observation, context):
        self.turn += 1
        anew = self.turn == 4
        actions = np.tile(np.array([0.5, 0, 0.3, 0, 0, 0, 0], np.float32), (16, 1))
        if anew:
            actions[:, 0] += np.minimum(0.01 * np.arange(1, 17), 0.1)
        return Decision(actions, "go" if anew else "", planned=anew)


@pytest.mark.parametrize("join", CHUNKING_MODES[1:2] + CHUNKING_MODES[3:])
def test_a_motion_that_begins_from_rest_is_carried_out_from_its_start_however_late_it_comes(rig, join):
    r = rig(0.3, Motions(), chunking_mode=join)
    texts = []
    r.loop.on_subtask = texts.append
    r.loop.run(lambda: "go" in texts)
    came = r.clock.now()
    r.run(0.3)
    tool = {round(command.time - came, 6): command.pose[0] for command in r.commands}
    for k in range(1, 5):
        assert tool[round(0.05 * k, 6)] == pytest.approx(0.5 + 0.01 * k, abs=0.005)


def test_a_path_is_left_when_what_it_was_decided_on_is_too_old(rig):
    """However long differences between chunks still fade."""
    r = rig(
        0.0, chunking_mode="ensemble", blend_time=5.0, safety={"stale_after": 0.6, "hold_timeout": 5.0, "restarts": 99}
    )
    r.run(2.0)
    last = r.clock.now()
    r.delay = lambda job, now: float("inf")
    r.run(0.6 + r.settings.stopping_time)
    assert r.loop.mode == "stop"
    assert r.speed < 1e-3
    assert r.loop.latency_stats.chunks[-1][0] <= last


def _wild(job, reply):
    """Every kind of chunk that the loop refuses or changes, one after the other."""
    if job.kind != "chunk":
        return reply
    actions = np.array(reply.result.actions)
    kind = job.number % 3
    if kind == 0:
        actions[0, 0] = np.nan
    elif kind == 1:
        actions[:, 2] = 5.0
    else:
        actions[::2, 1] += 0.3
    return replace(reply, result=replace(reply.result, actions=actions))


def test_another_log_is_that_of_every_part(rig):
    r = rig(lambda job, now: 1.0 if job.number % 7 == 0 else 2.2 if job.number % 11 == 0 else 0.1, tamper=_wild)
    object.__setattr__(r.settings.safety, "model_timeout", 5.0)
    before, r.loop.log = r.loop.log, EventLog()
    r.loop.start(3)
    r.run(40.0)
    assert not before.events
    assert {"bad chunk", "workspace", "change bound", "slow model", "stale chunk"} <= set(r.loop.log.counts)


@pytest.mark.parametrize("way", [0.0, 0.5])
def test_a_slow_arm_is_given_the_time_that_its_way_takes(rig, way):
    class Slow(RandomWaypointPolicy):
        """Says how far it is."""

        def plan(self, observation, context):
            return replace(super().plan(observation, context), way=way)

    limits = MotionLimits(*REACH, velocity=0.05)
    r = rig(0.05, policy=Slow(), success_threshold=2.0, subtask_timeout=0.7, max_subtask_failures=0, limits=limits)
    allowed = 0.7 * 1.5 / 0.05 if not way else 2.0 * way / 0.05
    assert r.settings.subtask_time_allowed(way) == pytest.approx(allowed)
    r.run(allowed - 0.5)
    assert "gave up" not in r.counts
    r.run(2.0)
    assert r.counts["gave up"] == 1
    quick = LoopSettings(subtask_timeout=8.0)
    assert quick.subtask_time_allowed(0.0) == quick.subtask_time_allowed(2.0) == 8.0  # the simulated arm's own speed


def test_a_policy_hears_how_fast_the_arm_may_go_and_the_loop_that_it_is_over(rig):
    heard = []

    class Ends(RandomWaypointPolicy):
        """Says that all is done with its third chunk, which is none."""

        def chunk(self, observation, context, plan, prefix=None, inference_delay=0):
            heard.append(context.velocity)
            decision = super().chunk(observation, context, plan, prefix, inference_delay)
            return replace(decision, over="done", actions=decision.actions * np.nan) if len(heard) == 3 else decision

    r = rig(0.05, policy=Ends(), limits=MotionLimits(*REACH, velocity=0.3))
    r.loop.run(lambda: bool(r.loop.episode_over))
    assert r.loop.episode_over == "done"
    assert heard[:3] == [0.3] * 3
    r.loop.reset(1)
    assert r.loop.episode_over == ""
