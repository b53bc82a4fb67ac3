"""One running episode: a problem, the simulation it plays in, its score and its end."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lohovla.envs.control.end_effector import EndEffectorController
from lohovla.envs.control.motion import PickPlace
from lohovla.envs.control.simulation import Simulation, SimulationState
from lohovla.envs.disturbances import Pushes, PushEvent, PushSettings
from lohovla.envs.language import rgb
from lohovla.envs.scene import arm
from lohovla.envs.scene.world import Composition, Scenery
from lohovla.envs.tasks.entities import Block, Bowl, Scene, Zone
from lohovla.envs.tasks.registry import TaskInstance

SUCCESS = 0.99  # a score above this, at the end, is a success
SETTLED = 0.5  # s that a reached goal must stand before the episode ends


@dataclass(frozen=True)
class EpisodeConfig:
    """How an episode is played.

    Attributes:
        control: ``ee`` or ``pick_place``.
        control_hz: commands a second.
        robot: ``ur5e`` or ``menagerie``.
        gripper: ``suction`` or ``jaw``.
        drop_probability: chance that suction loses what it holds within a second.
        seconds_per_action: with ``ee``, simulated seconds allowed for each pick-and-place action.
        push: what disturbs the episode.
    """

    control: str
    control_hz: float
    robot: str
    gripper: str
    drop_probability: float
    seconds_per_action: float
    push: PushSettings = field(default_factory=PushSettings)


@dataclass(frozen=True)
class EpisodeState:
    """A snapshot of an episode, bit for bit; it can be pickled."""

    problem: TaskInstance
    model_fields: Mapping[str, np.ndarray]
    simulation: SimulationState
    counters: Mapping[str, Any]
    drops: Mapping[str, Any]
    scenery: Scenery = field(default_factory=Scenery)


# What an episode changes of the model that its composition shares with others.
_MODEL_FIELDS = (
    "cam_pos",
    "cam_quat",
    "light_diffuse",
    "light_dir",
    "body_pos",
    "body_quat",
    "geom_rgba",
)


class Episode:
    """A problem being played.

    Args:
        problem: what to play.
        rules: how.
        rng: the stream of drops.
        pushes: the stream of disturbances; None only where a snapshot brings them.
        scenery: what is seen beside the task.
    """

    def __init__(
        self,
        problem: TaskInstance,
        rules: EpisodeConfig,
        rng: np.random.Generator,
        pushes: np.random.Generator | None = None,
        scenery: Scenery | None = None,
    ):
        self.problem, self.rules = problem, rules
        self._rng = rng
        self.scenery = scenery or Scenery()
        composition = _composition(problem, rules, self.scenery)
        self.simulation = Simulation(composition, control_hz=rules.control_hz, drop_probability=rules.drop_probability)
        self._controller = EndEffectorController(self.simulation)
        self.actions, self._stood, self.over = 0, 0.0, False
        self.score = 0.0
        poses, entities = problem.layout.poses, problem.layout.entities
        self.fixture_poses = {name: poses[name] for name, e in entities.items() if isinstance(e, Bowl | Zone)}
        self._pushes = Pushes(rules.push, pushes) if pushes is not None and rules.push.any else None
        if rules.push.any:
            self.simulation.before_tick = self._disturb

    def begin(self, away: np.ndarray | None = None, turn: float = 0.0) -> None:
        """Set the table, the tool ``away`` from home by metres (3,) and turned by ``turn`` rad."""
        layout = self.problem.layout
        self.simulation.arrange(
            {name: (p.x, p.y, p.z, p.yaw) for name, p in layout.poses.items()},
            {name: rgb(entity.color) for name, entity in layout.entities.items()},
            arm.HOME if away is None else self._controller.joints_near_home(away, turn),
        )
        self.score = self.problem.goal.score(self.scene())

    @property
    def push_events(self) -> tuple[PushEvent, ...]:
        """What has disturbed the episode so far."""
        return tuple(self._pushes.events) if self._pushes is not None else ()

    @property
    def slides(self) -> int:
        """How often something began to slide, or came to rest again: a teacher plans anew then."""
        return self._pushes.moves if self._pushes is not None else 0

    def _disturb(self) -> None:
        if self._pushes is not None:
            self._pushes.before_tick(self)

    def slide_fixture(self, name: str, dx: float, dy: float) -> None:
        """Shift a bowl or zone along the table, m."""
        pose = self.fixture_poses[name]
        self.fixture_poses[name] = dataclasses.replace(pose, x=pose.x + dx, y=pose.y + dy)
        self.simulation.slide_fixture(name, dx, dy)

    def pursue(self, problem: TaskInstance) -> None:
        """Go on from the present state towards another goal on the same table; actions are counted anew."""
        self.problem, self.actions, self._stood, self.over = problem, 0, 0.0, False
        self.score = problem.goal.score(self.scene())

    def act(self, action: np.ndarray) -> dict[str, Any]:
        """Carry out a checked action; returns what could not be had: clamped, slowed, and the outcome."""
        report = self._command(action) if self.rules.control == "ee" else self._pick_place(action)
        self.score = self.problem.goal.score(self.scene())
        return report

    def _command(self, action: np.ndarray) -> dict[str, Any]:
        report = self._controller.command(action[:3], action[3:6], float(action[6]), self._rng)
        return {"clamped": report.clamped, "slowed": report.slowed}

    def _pick_place(self, action: np.ndarray) -> dict[str, Any]:
        """The Ravens primitive, then back home so that nothing stands in the cameras' view."""
        pick, place = action
        motion = PickPlace(self.simulation, pick, place, self._edge_near(pick))
        clamped = False
        for waypoint in motion:
            report = self._controller.command(
                waypoint.position, np.array([0.0, 0.0, waypoint.yaw]), waypoint.gripper, self._rng
            )
            clamped |= report.clamped
        while not self._controller.go_to_joints(arm.HOME, 0.0, self._rng):
            pass
        for _ in range(round(SETTLED / self.simulation.period)):
            if self.simulation.at_rest():
                break
            self.simulation.tick(self.simulation.joint_target, 0.0, self._rng)
        self.actions += 1
        return {"clamped": clamped, "slowed": False, "outcome": motion.outcome.value}

    def _edge_near(self, pick: np.ndarray) -> float:
        """How far what a pick finds will hang below the tool: its own height, as a height map would show."""
        scene = self.scene()
        near = [
            (float(np.hypot(*np.subtract(scene.centre(name)[:2], pick[:2]))), block.edge)
            for name, block in scene.blocks.items()
        ]
        return min(near, default=(0.0, 0.04))[1]

    def end(self) -> tuple[bool, bool, str]:
        """Whether the episode ends now: (terminated, truncated, reason). Ask once after each action."""
        reached = self.score > SUCCESS and self.simulation.held is None and self.simulation.at_rest()
        if self.rules.control == "pick_place":
            self._stood = SETTLED if reached else 0.0
            out, limit = self.actions >= self.problem.max_steps, "action limit"
        else:
            self._stood = self._stood + self.simulation.period if reached else 0.0
            allowed = self.problem.max_steps * self.rules.seconds_per_action
            out, limit = self.simulation.time >= allowed - 1e-9, "time limit"
        terminated = self._stood >= SETTLED - 1e-9
        self.over = terminated or out
        if terminated:
            return True, False, "success"
        return False, out, limit if out else ""

    def scene(self) -> Scene:
        """A snapshot of the true state in the tasks' terms; for oracles and scores, not for policies."""
        layout = self.problem.layout
        positions, quats = self.simulation.block_poses()
        blocks = {name: e for name, e in layout.entities.items() if isinstance(e, Block)}
        fixtures = {name: e for name, e in layout.entities.items() if isinstance(e, Bowl | Zone)}
        return Scene(
            blocks,
            fixtures,
            dict(self.fixture_poses),
            positions,
            quats,
            self.simulation.held,
            self.simulation.at_rest(),
        )

    def get_state(self) -> EpisodeState:
        """A snapshot."""
        model = self.simulation.model
        return EpisodeState(
            problem=self.problem,
            model_fields={name: getattr(model, name).copy() for name in _MODEL_FIELDS},
            simulation=self.simulation.get_state(),
            counters={
                "actions": self.actions,
                "_stood": self._stood,
                "over": self.over,
                "score": self.score,
                "fixture_poses": dict(self.fixture_poses),
                "_pushes": copy.deepcopy(self._pushes),
            },
            drops=copy.deepcopy(self._rng.bit_generator.state),
            scenery=self.scenery,
        )

    @classmethod
    def from_state(cls, state: EpisodeState, rules: EpisodeConfig) -> Episode:
        """The episode of a snapshot, to be played on by the same rules."""
        rng = np.random.default_rng()
        rng.bit_generator.state = state.drops
        episode = cls(state.problem, rules, rng, scenery=state.scenery)
        for name, value in state.model_fields.items():
            getattr(episode.simulation.model, name)[:] = value
        episode.simulation.set_state(state.simulation)
        vars(episode).update(copy.deepcopy(dict(state.counters)))
        return episode


def _composition(problem: TaskInstance, rules: EpisodeConfig, scenery: Scenery) -> Composition:
    entities = problem.layout.entities.values()
    return Composition(
        robot=rules.robot,
        gripper=rules.gripper,
        blocks=tuple((e.name, e.edge) for e in entities if isinstance(e, Block)),
        bowls=tuple(e.name for e in entities if isinstance(e, Bowl)),
        zones=tuple((e.name, e.edge) for e in entities if isinstance(e, Zone)),
        scenery=scenery,
    )
