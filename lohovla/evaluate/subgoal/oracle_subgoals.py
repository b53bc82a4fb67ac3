"""The LoHoVLA policy on sub-goal pictures that it did not generate: their worth in closed loop.

Made by ``policy=custom policy.factory=lohovla.evaluate.subgoal.oracle_subgoals:true_pictures``, or the same with
``:shuffled_pictures``; it reads the simulator's state, so it is a measurement and no contestant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from lohovla.collect.rendered_scenes import teleport_block
from lohovla.collect.training_stream import FailureInjection
from lohovla.envs.env import BlocksEnv
from lohovla.errors import UserError
from lohovla.evaluate.subgoal.imagined_rollout import plan_ahead, resolve_subtask
from lohovla.model.checkpoint import load_checkpoint
from lohovla.model.inference.subgoal_generation import SubgoalSamplingConfig
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor
from lohovla.policies.base import Context, Decision
from lohovla.policies.lohovla import LoHoVLAPolicy
from lohovla.policies.policy_config import LoHoVLAPolicyConfig
from lohovla.policies.registry import check_settings
from lohovla.policies.subgoal_source import PlannedSubtask

_NEVER = FailureInjection(0.0, 0.0, 0.0)


def top_view_env(world: BlocksEnv) -> BlocksEnv:
    """An environment of a world's task and rules that looks from above as the world's own camera does."""
    top = world.sensors.cameras["top"]
    return BlocksEnv(
        world.task.name,
        cameras={"top": {"width": top.width, "height": top.height, "depth": True}},
        top_source=world.sensors.top_source,
        colors=world.colors,
        paraphrase=world.paraphrase,
        noise=world.sensors.noise,
        **asdict(world.rules),
    )


def subtask_outcome(world: BlocksEnv, text: str, points: np.ndarray, rng: np.random.Generator) -> dict[str, Any] | None:
    """What a world would look like after a sub-task, made in a copy of it.

    Args:
        world: stays as it is.
        text: the sub-task.
        points: where the model picks and places (2, 5): of several moves that read so, the nearest is meant.
        rng: of how exactly the block is set down.

    Returns:
        An observation; None where the words name no move that can be made now.
    """
    scene = world.scene()
    subtask = resolve_subtask(scene, world.problem.goal.next(scene), text, points)
    if subtask is None or scene.held is not None:
        return None
    copy = top_view_env(world)
    copy.set_state(world.get_state())
    teleport_block(copy, scene, subtask, rng, _NEVER)
    return copy.observe()


class OracleSubgoals(ABC):
    """Pictures of one episode that are not painted of its scene.

    Args:
        model: the core.
        processor: of its checkpoint.
        seed: the episode's.

    Attributes:
        world: the true world, as it is now.
    """

    def __init__(self, model: LoHoVLA, processor: Processor, seed: int):
        self._model, self._processor, self._seed = model, processor, seed
        self._rng = np.random.default_rng(seed)
        self.world: Any = None

    def __call__(self, planned: PlannedSubtask) -> Tensor:
        """The picture that is acted on; the picture now where there is none."""
        if not isinstance(self.world, BlocksEnv):
            raise UserError("this policy's pictures are made in the simulation", "play it with `lohovla evaluate`")
        observation = self._observation(planned)
        return planned.now if observation is None else self._processor([observation]).picture.to(planned.now)

    @abstractmethod
    def _observation(self, planned: PlannedSubtask) -> dict[str, Any] | None:
        """What the camera would see."""


class TrueSubgoals(OracleSubgoals):
    """What each sub-task would lead to if it were carried out well."""

    def _observation(self, planned: PlannedSubtask) -> dict[str, Any] | None:
        text = self._processor.sentence(planned.words)
        return subtask_outcome(self.world, text, planned.pointed.points[0].cpu().numpy(), self._rng)


class ShuffledSubgoals(OracleSubgoals):
    """What the model paints of the first sub-task in another scene of the task, another one each time.

    These scenes are those of the seeds after the episode's own; nothing depends on what else is played.
    """

    def _observation(self, planned: PlannedSubtask) -> dict[str, Any] | None:
        self._seed += 2
        observation, _ = top_view_env(self.world).reset(seed=self._seed)
        plan = plan_ahead(self._model, self._processor, observation, SubgoalSamplingConfig(), 1, self._seed)
        ends = [{"images.top": step.color, "depth.top": step.depth} for step in plan]
        return {**observation, **(ends[0] if ends else {})}  # as it is, where the model sees nothing to do


class OracleSubgoalPolicy(LoHoVLAPolicy):
    """Plans in words and acts on pictures from elsewhere.

    Args:
        env: as of :class:`~lohovla.policies.lohovla.LoHoVLAPolicy`.
        model: the core.
        processor: of its checkpoint.
        rules: how; pictures must be acted on.
        kind: the pictures of each episode.

    Raises:
        UserError: nothing acts on pictures.
    """

    needs_world = True

    def __init__(
        self, env: Any, model: LoHoVLA, processor: Processor, rules: LoHoVLAPolicyConfig, kind: type[OracleSubgoals]
    ):
        if not rules.uses_subgoal_images:
            raise UserError(f"policy.subtasks={rules.subtasks} acts on no pictures", "choose image or text+image")
        super().__init__(env, model, processor, rules)
        self._kind = kind
        self._shown: dict[int, OracleSubgoals] = {}

    def reset(self, seed: int, slot: int = 0) -> None:
        """Begin an episode."""
        super().reset(seed, slot)
        self._shown[slot] = self._episodes[slot].subgoal_source = self._kind(self.model, self.processor, seed)

    def act_batch(self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context]) -> list[Decision]:
        """Decide for several episodes in one pass."""
        for context in contexts:
            self._shown[context.slot].world = context.world
        return super().act_batch(observations, contexts)


def true_pictures(env: Any, **settings: Any) -> OracleSubgoalPolicy:
    """The policy on :class:`TrueSubgoals`; ``checkpoint``, ``device`` and :class:`LoHoVLAPolicyConfig` by name."""
    return _make(env, TrueSubgoals, **settings)


def shuffled_pictures(env: Any, **settings: Any) -> OracleSubgoalPolicy:
    """The policy on :class:`ShuffledSubgoals`; ``checkpoint``, ``device`` and :class:`LoHoVLAPolicyConfig` by name."""
    return _make(env, ShuffledSubgoals, **settings)


def _make(
    env: Any, kind: type[OracleSubgoals], checkpoint: str | None = None, device: str = "cpu", **rules: Any
) -> OracleSubgoalPolicy:
    check_settings("custom", LoHoVLAPolicyConfig, rules, env=False)
    model, processor = load_checkpoint(checkpoint, device)
    return OracleSubgoalPolicy(env, model, processor, LoHoVLAPolicyConfig(**{"subtasks": "image", **rules}), kind)
