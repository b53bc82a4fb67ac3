"""``lohovla ros``: a policy on a ROS robot."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.commands.ros_results import print_run, run_record, save_recording, write_commands
from lohovla.commands.ros_sim import check_packages
from lohovla.errors import UserError
from lohovla.ros.session.stop_reasons import EndKind, RunEnd
from lohovla.settings.hydra_config import results_folder

_WORLD_HZ = 100.0  # control rate of ros-sim's world
_FPS = 20  # frames a second of a recording at most: the rate that the models act at


def run(config: DictConfig) -> int:
    """Connect, wait until all is well, run, and say what happened. Exit code 1 after an emergency stop."""
    _check(config)
    from lohovla.evaluate.ros_episodes import refuse_other_ros_settings
    from lohovla.ros.robot.profile_file import profile_of
    from lohovla.ros.transport.namespace import check_namespace, log_format

    logging.basicConfig(format=log_format(config.namespace), level=logging.INFO, stream=sys.stderr)
    for noisy in ("websockets", "OpenGL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    profile = profile_of(config.robot, config.profile)
    if config.enable == "always" and not profile.world and not config.dry_run:
        topic = f"{check_namespace(config.namespace)}/lohovla/enable"
        raise UserError("enable=always is for simulators", f"hold the enable on {topic}, or use dry_run=true")
    if config.output is not None:
        refuse_other_ros_settings(Path(config.output), OmegaConf.to_container(config))  # type: ignore[arg-type]
    made: list[_Bridge] = []
    _end_on_signals(made)
    made.append(bridge := _Bridge(config, profile))
    try:
        return bridge.run()
    finally:
        bridge.close()


def _end_on_signals(made: list[_Bridge]) -> None:
    """A signal ends the run, so that the arm comes to rest first; the program, as long as no bridge was made.

    To be set before the model is loaded, which takes a while: a launch file's first signal is often its only one.
    """

    def end(number: int, frame: Any) -> None:
        if not made:
            raise SystemExit(128 + number)
        made[0].operator.stop(f"signal {signal.Signals(number).name}")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _check(config: DictConfig) -> None:
    from lohovla.envs.tasks.registry import get_task
    from lohovla.ros.session.operator_interface import ENABLES
    from lohovla.ros.transport.namespace import check_namespace

    get_task(config.task)
    check_namespace(config.namespace)
    if config.enable not in ENABLES:
        raise UserError(f"enable cannot be {config.enable!r}", f"choose one of {', '.join(ENABLES)}")
    if config.transport != "native":
        check_packages()
    if config.transport == "sim" and not config.robot.world:
        raise UserError("transport=sim is a robot of its own", "use robot=sim or robot=sim-fused")
    if config.start not in ("auto", "wait"):
        raise UserError(f"start cannot be {config.start!r}", "choose auto or wait")
    if config.judge not in (None, "policy", "simulator"):
        raise UserError(f"judge cannot be {config.judge!r}", "choose policy or simulator, or null")
    if config.episodes < 1 or not config.seconds > 0:
        raise UserError("episodes and seconds must be above 0", "`lohovla ros --help` shows the defaults")


def judged_by_policy(config: DictConfig) -> bool:
    """Whether a run ends when the policy says so, and not when the simulator does; as on a robot, if it can say so."""
    if config.judge is None:
        return config.policy.name == "lohovla"
    return config.judge == "policy" or not config.robot.world


class _Bridge:
    """All the parts of one process: transport, model, robot, session."""

    def __init__(self, config: DictConfig, profile: Any):
        from lohovla.control.inference.inference_worker import WORKERS, BackgroundWorker
        from lohovla.control.settings import LoopSettings
        from lohovla.envs.tasks.names import VERSION
        from lohovla.envs.tasks.registry import get_task
        from lohovla.evaluate.realtime_episodes import build_policy
        from lohovla.model.checkpoint import reads_features
        from lohovla.policies.recorded_policy import make_recorded_policy
        from lohovla.policies.registry import judging_for_itself, split_settings
        from lohovla.ros.robot.controller_check import ControllerCheck
        from lohovla.ros.robot.tool_length_check import ToolCheck
        from lohovla.ros.session.operator_interface import OperatorInterface
        from lohovla.ros.session.robot_session import RobotSession
        from lohovla.ros.session.ros_robot import RosRobot
        from lohovla.ros.sim.sim_state_mirror import mirror_of
        from lohovla.ros.transport.connect import connect
        from lohovla.ros.transport.namespace import in_namespace
        from lohovla.ros.transport.sim_time import RosSimTime
        from lohovla.ros.ui.command_log import CommandLog

        self.config, self.profile = config, profile
        self.evaluation: Any = None
        loop: Any = OmegaConf.to_container(config.loop)
        own = {key: loop.pop(key) for key in ("clock", "worker", "delay")}
        if own["worker"] not in WORKERS:
            raise UserError(f"loop.worker cannot be {own['worker']!r}", "choose process or thread")
        loop.pop("command_hz")
        settings = LoopSettings.from_config(profile.loop_settings(loop))
        chosen: Any = OmegaConf.to_container(config.policy)
        name, policy_settings = split_settings(chosen)
        self.policy, self.by_policy = name, judged_by_policy(config)
        task = get_task(config.task).name
        world = {"control": "ee", "control_hz": 20.0 if name == "lohovla" else _WORLD_HZ}
        if name == "lohovla":
            policy_settings = judging_for_itself(policy_settings, self.by_policy)
        make: Callable[[], Any] = partial(build_policy, name, policy_settings, task, world)
        if name == "lohovla" and reads_features(policy_settings.get("checkpoint")):
            make = partial(make_recorded_policy, policy_settings, profile.name, profile.policy_cameras)
        self.worker = BackgroundWorker(make, own["worker"], settings.priority)  # type: ignore[arg-type]
        self.close_all: list[Callable[[], None]] = [self.worker.close]
        try:
            spec = self.worker.wait()
            mirror = mirror_of(name, spec.observation_keys, profile.world, task, {**world, "control_hz": _WORLD_HZ})
            self.task, kind, url = task, config.transport, config.url
            if kind == "sim":
                kind, url = "rosbridge", self._simulate()
            self.transport = connect(kind, url, profile.ros_version, config.compression)
            self.close_all += [self.transport.close, self.transport.flush]
            self.folder = results_folder(config, "ros", {"environment": VERSION})  # the model and ROS are there
            if config.bag:
                self._open_bag()
            self.transport = in_namespace(self.transport, config.namespace, list(config.shared))
            self.operator = OperatorInterface(
                config.enable, profile.max_age.enable, str(config.goal), started=config.start == "auto"
            )
            self.robot = RosRobot(
                self.transport,
                profile,
                settings.limits,
                self.operator.goal,
                mirror=mirror,
                dry=config.dry_run,
                clock=RosSimTime(self.transport) if config.use_sim_time else None,
            )
            self.close_all.append(self.robot.eyes.close)
            self.session = RobotSession(self.robot, spec, self.worker, settings, self.operator)
            self.close_all.append(self.session.close)
            self.operator.attach(self.transport)
            self.trace = CommandLog(say=config.dry_run)
            checks = ToolCheck(profile.tool), ControllerCheck(self.transport, profile.command)
            self.session.watchers += [self.trace, *checks]
            self._show()
        except BaseException:
            self.close()
            raise

    def _simulate(self) -> str:
        """Start a simulated robot of our own; returns where it is."""
        from lohovla.ros.sim.simulator_process import SimulatorProcess

        simulator = SimulatorProcess(self.task, self.config.seed, list(self.profile.cameras), self.config.namespace)
        self.close_all.append(simulator.close)
        return simulator.url

    def _open_bag(self) -> None:
        from lohovla.ros.record.bag import Bag, RecordingTransport

        ros_version = self.transport.ros_version
        bag = Bag(self.folder / ("run.bag" if ros_version == 1 else "bag"), ros_version)
        self.close_all.append(bag.close)
        self.transport = RecordingTransport(self.transport, bag)

    def _show(self) -> None:
        """Tell people what happens: over ROS, and on a page."""
        from lohovla.ros.ui.rviz_markers import RvizMarkers
        from lohovla.ros.ui.status_publisher import StatusPublisher

        self.close_all.append(StatusPublisher(self.session, self.transport).close)
        limits = self.session.settings.limits
        self.session.watchers.append(RvizMarkers(self.transport, self.profile.frame, limits))
        page = self.config.page
        if page.serve:
            page = self._serve(page)
            self.close_all.append(page.close)
            print(f"watch it at {page.url}", flush=True)

    def _serve(self, settings: Any) -> Any:
        """The page, at another port where one of several robots' pages has this one already."""
        from lohovla.ros.ui.web_page import WebPage

        names = list(settings.names)
        try:
            return WebPage(self.session, self.operator, self.trace, settings.host, settings.port, names)
        except UserError:
            if not self.config.namespace or not settings.port:
                raise
            return WebPage(self.session, self.operator, self.trace, settings.host, 0, names)

    def close(self) -> None:
        """End everything, the last that was begun first."""
        while self.close_all:
            self.close_all.pop()()

    def run(self) -> int:
        records, verdict = list(self._episodes()), ""
        (self.folder / "result.json").write_text(json.dumps({"episodes": records}, indent=2), encoding="utf-8")
        if self.evaluation is not None:
            verdict = self.evaluation.close()
        verdict = verdict or (records[-1]["cause"] if records else "nothing was done")
        print(f"{verdict}; results in {self.folder}", flush=True)
        return 1 if self.operator.emergency else 0

    def _episodes(self) -> Any:
        """Play what is to be played; yields the record of each."""
        from lohovla.evaluate.ros_episodes import RosEvaluation, SimulatedEpisodes

        config = self.config
        if not self.profile.world:
            yield self._episode(config.seed, 0, None)
            return
        seeds = [config.seed + 2 * index for index in range(config.episodes)]
        self.evaluation = RosEvaluation(self.folder, [(self.task, seed) for seed in seeds])
        simulated = SimulatedEpisodes(self.transport, self.task, judges=not self.by_policy)
        for index, seed in enumerate(seeds):
            if self.evaluation.has(self.task, seed):
                continue
            goal = simulated.begin(seed, lambda: bool(self.operator.ended))
            if goal and not config.goal:
                self.operator.set_goal(goal)
            record = self._episode(seed, index, simulated)
            yield record
            if self.operator.ended or self.operator.emergency:
                return
            self.evaluation.add(simulated.result(record["cause"], record["subtasks"]))

    def _episode(self, seed: int, index: int, simulated: Any) -> dict[str, Any]:
        """One run: its record, its recording, its drawing."""
        from lohovla.ros.record.run_recorder import RunRecorder

        config, watchers = self.config, self.session.watchers
        self.trace.begin()
        fps = min(round(self.session.loop.spec.control_hz), _FPS)
        recording = RunRecorder(fps) if config.record else None
        watchers += [recording] if recording is not None else []
        outcome = self.session.run(seed, self._over(simulated), config.home)
        record = run_record(self.session, seed, outcome)
        if simulated:
            if outcome.end.kind is EndKind.DONE:
                simulated.settle()
            record |= {"success": simulated.success, "score": simulated.score}
        if recording is not None:
            watchers.remove(recording)
            task, policy = self.task if self.profile.world else self.profile.name, self.policy
            root = Path(config.dataset or self.folder / "dataset")
            record["episode"] = save_recording(recording, root, self.profile, record, task, policy)
        write_commands(self.trace, self.robot, self.folder, "commands" if index == 0 else f"commands-{index}")
        print_run(record)
        return record

    def _over(self, simulated: Any) -> Callable[[], RunEnd | None]:
        from lohovla.evaluate.ros_episodes import SUCCEEDED

        limit, session = float(self.config.seconds), self.session

        def over() -> RunEnd | None:
            if simulated and simulated.ended and not (self.by_policy and simulated.ended == SUCCEEDED):
                return RunEnd(EndKind.JUDGED, simulated.ended)
            if session.phase == "running" and session.seconds > limit:
                return RunEnd(EndKind.TIME, "time is up")
            if session.waited > limit:
                why = session.verdict.description or "the arm was still on its way to its home pose"
                return RunEnd(EndKind.TIME, f"time is up, in which the run did not begin: {why}")
            return None

        return over
