"""A run on a robot that goes where it is told, through topics, in real time."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lohovla.policies.base import Decision, Policy, PolicySpec
from lohovla.ros.robot.pose_conversion import BadPose
from lohovla.ros.session import homing
from lohovla.ros.session.stop_reasons import PERMITTED, EndKind, MotionPermit, RunEnd, StopReason
from lohovla.ros.transport.in_process_ros import LocalTransport
from lohovla.ros.transport.transport import Subscription


def test_goes_home_slowly_then_the_policy_plays(bench):
    run = bench().start()
    run.until(lambda: run.session.phase == "running" and run.session.loop.latency_stats.chunks)
    home = [pose for _, pose in run.arm.commands]
    run.until(lambda: np.linalg.norm(run.arm.pose[:3] - np.array(run.profile.home[:3])) > 0.01)
    steps = np.linalg.norm(np.diff([pose[:3] for pose in home], axis=0), axis=1)
    assert steps.max() <= np.sqrt(3) * run.profile.start.speed / run.profile.command_hz * 1.01 + 0.001
    assert run.finish().end.cause == "the test is over"


def _hold_again(run):
    run.hold()


@pytest.mark.parametrize(
    ("fault", "mend", "kind"),
    [
        (lambda run: run.let_go(), _hold_again, "not enabled"),
        (lambda run: setattr(run.arm, "camera", False), lambda run: setattr(run.arm, "camera", True), "camera lost"),
        (lambda run: setattr(run.arm, "state", False), lambda run: setattr(run.arm, "state", True), "state lost"),
        (lambda run: run.operator.pause(), lambda run: run.operator.start(), "paused"),
        (
            lambda run: run.operator.emergency_stop("test"),
            lambda run: (run.operator.release(), run.operator.start()),
            "emergency stop",
        ),
    ],
)
def test_every_loss_ends_in_a_stop_that_the_log_shows_and_it_goes_on_after(shared, fault, mend, kind):
    run = shared
    run.moves()
    before = run.session.log.counts[kind]  # a machine that is busy may lose things by itself
    fault(run)
    run.until(lambda: run.session.log.counts[kind] > before)
    run.until(run.rests)
    last = [pose[:3] for _, pose in run.arm.commands[-3:]]
    np.testing.assert_allclose(last[0], last[2], atol=1e-6)  # it came to rest before the commands ended
    assert any(event.kind == kind and event.cause for event in run.session.log.events)
    mend(run)
    run.moves()


def test_nothing_moves_before_the_enable(bench):
    run = bench()
    run.let_go()
    run.operator.let_go()
    run.start()
    run.until(lambda: run.session.verdict.reason is StopReason.NOT_ENABLED)
    assert not run.operator.enabled(time.monotonic())
    assert run.arm.commands == []


def test_velocities_end_in_zero(bench):
    run = bench(twist=True).start()
    run.moves()
    assert np.abs(run.arm.twists[-1][1]).max() > 0.0
    run.let_go()
    run.until(lambda: run.session.log.counts["not enabled"])
    run.until(lambda: time.monotonic() - run.arm.twists[-1][0] > 0.7)  # nothing more comes
    assert not run.arm.twists[-1][1].any()
    run.hold()
    run.moves()
    run.finish()
    assert not run.arm.twists[-1][1].any()


def test_velocities_end_in_zero_where_the_arm_stays_behind(bench, monkeypatch):
    monkeypatch.setattr(homing, "_ARRIVES_WITHIN", 0.2)
    run = bench(twist=True)
    run.arm.stuck, run.arm.pose = True, run.arm.pose + np.array([0.03, 0, 0, 0, 0, 0])
    run.start()
    run.until(lambda: run.outcome)
    assert run.outcome.end.kind is EndKind.NOT_HOME
    assert max(np.abs(twist).max() for _, twist in run.arm.twists) > 0.01
    assert not run.arm.twists[-1][1].any()


def test_velocities_end_in_zero_when_the_bridge_itself_fails(bench):
    run = bench(twist=True)

    def fail(session):
        if run.arm.twists and np.abs(run.arm.twists[-1][1]).max() > 0.01:
            raise BadPose("a mistake of the bridge's own")

    run.session.watchers.append(fail)
    with pytest.raises(BadPose):
        run.session.run(1)
    assert not run.arm.twists[-1][1].any()


def test_the_model_answers_once_before_the_arm_moves(bench, parts):
    moved = []  # commands before each answer

    class Slow(parts.Glide):
        """Its first answer takes longer than a chunk may."""

        def act(self, observation, context):
            self._seconds, seconds = 0.0, self._seconds
            time.sleep(seconds)
            moved.append(len(run.arm.commands))
            return super().act(observation, context)

    run = bench(policy=lambda: Slow(1.0))
    object.__setattr__(run.session.settings.safety, "plan_timeout", 5.0)
    run.start()
    run.until(lambda: run.session.phase == "homing")
    assert run.session.log.counts["warming up"] == 1
    run.moves()
    run.finish()
    assert moved[0] == 0 < moved[-1]


def test_a_dry_run_sends_nothing(bench):
    run = bench(dry=True).start()
    run.until(lambda: run.session.phase == "running" and run.robot.sent > 50)
    assert run.arm.commands == []
    assert run.robot.last_message[0] == "/sim/tool_target"


def test_a_guard_that_refuses_everything_is_named(bench, monkeypatch):
    """Another frame on the robot's side: the bridge says so, and does not wait for an arm that will not come."""
    run = bench(guard=True)
    run.guard.node.guard.settings = replace(run.guard.settings, frame="world")
    run.guard.node.guard._path._settings = run.guard.node.guard.settings
    run.start()
    run.until(lambda: run.session.log.counts["guard refuses"])
    run.until(lambda: run.session.verdict.reason is StopReason.GUARD_REFUSES)
    assert "not 'world'" in run.session.verdict.cause
    assert not run.arm.commands
    assert "not 'world'" in run.robot.guard_refusal(time.monotonic())


def test_the_way_home_begins_where_the_arm_is(parts):
    """Also after it was moved by hand while it rested, and after an arm never followed."""
    place, verdict, blocked = np.array([0.4, 0.1, 0.25, 0.0, 0.0, 0.0]), PERMITTED, MotionPermit(StopReason.PAUSED, "")
    profile = parts.profile_of()
    robot = SimpleNamespace(profile=profile, dry=False, sent=[], gripper=lambda: 0.0)
    robot.measured = robot.pose = lambda: place
    robot.command = lambda command, now: robot.sent.append(command.pose)
    way = homing.Homing(robot, parts.loop_of(profile))
    place = np.add(place, [0.0, 0.08, 0.0, 0.0, 0.0, 0.0])
    for k in range(5):
        way.step(0.02 * k, verdict)
    assert np.abs(robot.sent[-1] - place).max() < 0.1 * profile.start.speed + 1e-6  # as far as it may go in 0.1 s
    for k in range(200):  # it never follows
        way.step(0.1 + 0.02 * k, blocked)
    place = np.add(place, [0.0, 0.0, 0.05, 0.0, 0.0, 0.0])
    way.step(5.0, verdict)
    assert np.abs(robot.sent[-1] - place).max() < 0.005
    robot.measured = lambda: None  # lost: nobody knows, and nothing breaks
    way.step(5.1, blocked)


def test_chunks_that_were_refused_are_in_the_record_and_on_the_topic(bench, parts):
    class Wild(parts.Glide):
        """Every other chunk is none, or leads outside."""

        def act(self, observation, context):
            decision = super().act(observation, context)
            self.count = getattr(self, "count", 0) + 1
            if self.count % 4 == 0:
                decision.actions[0, 0] = np.nan
            elif self.count % 4 == 1:
                decision.actions[:, 2] = 5.0
            return decision

    run, heard = bench(policy=Wild), []
    node = LocalTransport(run.graph)
    node.subscribe(Subscription("/lohovla/event", "std_msgs/String", lambda message: heard.append(message["data"])))
    run.start()
    kinds = ("bad chunk", "workspace", "change bound")
    run.until(lambda: all(run.session.log.counts[kind] for kind in kinds))
    run.until(lambda: all(any(f"s {kind}: " in words for words in heard) for kind in kinds))
    outcome = run.finish()
    assert all(outcome.counts[kind] for kind in kinds)
    assert {event.kind for event in outcome.events} >= set(kinds)
    assert run.session.snapshot()["event_count"] >= sum(outcome.counts[kind] for kind in kinds)


class _Ends(Policy):
    """Goes a little, then says something with ``over``, or in words."""

    def __init__(self, over, text):
        self.spec = PolicySpec(("state",), "ee", (7,), 16, 20.0, frozenset({"subtask"}))
        self._over, self._text, self._count = over, text, 0

    def reset(self, seed, slot=0):
        self._count = 0

    def act(self, observation, context):
        self._count += 1
        actions = np.tile(np.asarray(observation["state"][:7], np.float32), (16, 1))
        last = self._count > 3
        return Decision(actions, self._text if last else "Wait.", True, over=self._over if last else "")


@pytest.mark.parametrize(
    ("over", "text", "ending", "cause"),
    [
        ("done", "That was it.", EndKind.DONE, "the policy says that all is done"),
        ("", "Done.", EndKind.DONE, "the policy says that all is done"),  # policies that know no other way
        ("nothing", "Nothing can be done.", EndKind.NOTHING, "nothing can be done"),
    ],
)
def test_the_policy_ends_the_run(bench, over, text, ending, cause):
    run = bench(policy=lambda: _Ends(over, text)).start()
    run.until(lambda: run.outcome is not None)
    assert run.outcome.end.kind is ending
    assert cause in run.outcome.end.cause


@pytest.mark.parametrize("dry", [False, True])
def test_a_run_that_gets_nothing_has_waited(bench, dry):
    run = bench(dry=dry, goal="")
    run.arm.camera = False
    time_is_up = RunEnd(EndKind.TIME, "time is up")
    run.session.operator.goal = "wander about"
    outcome = run.session.run(1, lambda: time_is_up if run.session.waited > 0.3 else None)
    assert outcome.end is time_is_up
    assert outcome.seconds == 0.0


def test_a_person_may_take_their_time(bench):
    run = bench(goal="").start()
    run.until(lambda: run.session.verdict.reason is StopReason.NO_GOAL)
    before = run.session.waited
    run.until(lambda: run.session.log.counts["no goal"])
    time.sleep(0.3)
    run.until(lambda: run.session.verdict.reason is StopReason.NO_GOAL)
    assert run.session.waited < before + 0.25


def test_a_camera_that_sends_one_picture_for_ever_is_noticed_on_a_robot(bench):
    run = bench()
    object.__setattr__(run.profile, "frozen_camera_frames", 10)
    run.start()
    run.moves()
    run.arm._pictures = run.arm._pictures[:1]  # with fresh stamps, at any height
    run.until(lambda: "frozen" in run.session.verdict.cause)
    assert run.session.verdict.reason is StopReason.CAMERA_LOST
    assert "pictures are alike to the byte" in run.session.verdict.cause
    rng = np.random.default_rng(1)
    run.arm._pictures = [rng.integers(0, 255, (160, 320, 3), np.uint8) for _ in range(7)]
    run.moves()


def test_an_emergency_stop_that_was_released_while_paused_is_logged_once(bench):
    run = bench().start()
    run.moves()
    run.operator.emergency_stop("test")
    run.until(lambda: run.session.log.counts["emergency stop"])
    run.operator.release()
    run.until(lambda: run.session.verdict.reason is StopReason.PAUSED)
    ticks = run.session.loop._commands
    run.until(lambda: run.session.loop._commands > ticks + 60)
    assert run.session.log.counts["emergency stop"] == 1
    assert not run.session.loop.emergency


def test_a_topic_that_never_comes_is_named_in_the_log(bench, monkeypatch, caplog):
    """Nothing else would: without its state a gripper is taken to be where it was commanded."""
    monkeypatch.setattr("lohovla.ros.session.robot_clock_poll._ADVISE_AFTER", 0.1)
    one = bench().start()
    one.until(lambda: "nothing has come on /sim/gripper_state (std_msgs/Float64)" in caplog.text)
    one.finish()


def test_where_the_arm_is_is_compared_with_where_it_was_sent_at_that_moment(bench, monkeypatch):
    """Its message is old when it comes, and the arm is on its way: the newest command is ahead of it by right."""
    run = bench().start()
    run.moves()
    sent, compared, check = [], [], run.session.gate.check

    def look(now, commanded=None):
        command = run.session.loop.last_command
        sent.append((command.time, command.pose))
        if commanded is not None and len(sent) > 20:
            compared.append((run.robot.told_at, commanded, command.pose))
        return check(now, commanded)

    monkeypatch.setattr(run.session.gate, "check", look)
    run.until(lambda: len(compared) > 20)
    monkeypatch.undo()
    times, poses = np.array([moment for moment, _ in sent]), np.array([pose for _, pose in sent])
    kept = [one for one in compared if one[0] + run.session.settings.period > times[0]]
    for moment, commanded, _ in kept:
        then = [np.interp(moment + run.session.settings.period, times, column) for column in poses.T]
        np.testing.assert_allclose(commanded, then, atol=1e-6)
    assert any(np.abs(commanded - newest).max() > 1e-4 for _, commanded, newest in kept)
