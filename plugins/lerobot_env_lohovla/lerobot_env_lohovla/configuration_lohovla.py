"""The environments' settings, as ``--env.KEY=VALUE`` of LeRobot's commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs import EnvConfig
from lerobot_env_lohovla.block_task import BlockTask

from lohovla.evaluate.protocol import SUITES, tasks_of


@EnvConfig.register_subclass("lohovla")
@dataclass
class LoHoVLAEnvConfig(EnvConfig):
    """Settings of the block tasks.

    Attributes:
        task: a task's name or letter, several with commas, or a suite: ``primitives``, ``seen``, ``unseen``,
            ``additional``, ``lohoravens`` (A to K), ``all``. Each task is a suite of LeRobot's, with its own success.
        control: ``ee``, commands at 20 Hz, or ``pick_place``, one primitive an action.
        cameras: height and width by name.
        gripper: ``suction`` or ``jaw``.
        robot: ``ur5e`` or ``menagerie``.
        drop_probability: chance that suction loses what it holds within a second.
        fps: of the actions; it follows from ``control``.
    """

    task: str | None = "pick-and-place-primitive"
    control: str = "ee"
    cameras: dict[str, list[int]] = field(default_factory=lambda: {"top": [160, 320], "wrist": [128, 128]})
    gripper: str = "suction"
    robot: str = "ur5e"
    drop_probability: float = 0.0

    def __post_init__(self) -> None:
        sample = BlockTask(self.tasks[0], **self.gym_kwargs)
        self.fps = sample.metadata["render_fps"]
        vectors = {"action": sample.action_space, "agent_pos": sample.observation_space["agent_pos"]}  # type: ignore[index]
        kinds = {"action": FeatureType.ACTION, "agent_pos": FeatureType.STATE}
        self.features = {name: PolicyFeature(kinds[name], space.shape) for name, space in vectors.items()}
        self.features |= {
            f"pixels/{name}": PolicyFeature(FeatureType.VISUAL, (*size, 3)) for name, size in self.cameras.items()
        }
        self.features_map = {"action": "action", "agent_pos": "observation.state"}
        self.features_map |= {f"pixels/{name}": f"observation.images.{name}" for name in self.cameras}
        sample.close()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks.

        Raises:
            UserError: there is no such task or suite.
        """
        chosen = str(self.task)
        return tasks_of(chosen) if chosen in SUITES else tasks_of("", chosen.split(","))

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Settings of :class:`BlockTask`."""
        depthless = {name: {"height": height, "width": width} for name, (height, width) in self.cameras.items()}
        return {
            "control": self.control,
            "cameras": depthless,
            "gripper": self.gripper,
            "robot": self.robot,
            "drop_probability": self.drop_probability,
        }

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, gym.vector.VectorEnv]]:
        """A batch of environments for each task: ``{task: {0: batch}}``."""
        several = use_async_envs and n_envs > 1
        settings = self.gym_kwargs
        made: dict[str, dict[int, gym.vector.VectorEnv]] = {}
        for task in self.tasks:
            makers = [partial(BlockTask, task, **settings)] * n_envs
            made[task] = {
                0: gym.vector.AsyncVectorEnv(makers, context="forkserver", autoreset_mode=AutoresetMode.SAME_STEP)
                if several
                else gym.vector.SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
            }
        return made
