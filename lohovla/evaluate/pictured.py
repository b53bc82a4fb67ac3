"""The LoHoVLA policy on sub-goal pictures that it did not paint of this scene: what pictures are worth, in closed loop.

Made by ``policy=custom policy.factory=lohovla.evaluate.pictured:true_pictures`` or ``...:shuffled_pictures``; it reads
the true world, so it is a measurement and no contestant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from lohovla.collect.scenes import set_down
from lohovla.collect.stream import Mistakes
from lohovla.envs.env import BlocksEnv
from lohovla.errors import UserError
from lohovla.evaluate.storyboard import grounded, plan_ahead
from lohovla.model.checkpoint import load
from lohovla.model.core import LoHoVLA
from lohovla.model.imagining import Brush
from lohovla.model.processor import Processor
from lohovla.policies.base import Context, Decision
from lohovla.policies.lohovla import LoHoVLAPolicy
from lohovla.policies.pictures import Planned
from lohovla.policies.registry import check_settings
from lohovla.policies.rules import Rules

_NEVER = Mistakes(0.0, 0.0, 0.0)


def beside(world: BlocksEnv) -> BlocksEnv:
    """An environment of a world's task and rules that looks from above as the world's own camera does."""
    top = world.sensors.cameras["top"]
    return BlocksEnv(
        world.task.name, cameras={"top": {"width": top.width, "height": top.height, "depth": True}},
        top_source=world.sensors.top_source, colors=world.colors, paraphrase=world.paraphrase,
        noise=world.sensors.noise, **asdict(world.rules),
    )  # fmt: skip


def end_of(world: BlocksEnv, text: str, points: np.ndarray, rng: np.random.Generator) -> dict[str, Any] | None:
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
    subtask = grounded(scene, world.problem.goal.next(scene), text, points)
    if subtask is None or scene.held is not None:
        return None
    copy = beside(world)
    copy.set_state(world.get_state())
    set_down(copy, scene, subtask, rng, _NEVER)
    return copy.observe()


class Shown(ABC):
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

    def __call__(self, planned: Planned) -> Tensor:
        """The picture that is acted on; the picture now where there is none."""
        if not isinstance(self.world, BlocksEnv):
            raise UserError("this policy's pictures are made in the simulation", "play it with `lohovla evaluate`")
        observation = self._observation(planned)
        return planned.now if observation is None else self._processor([observation]).picture.to(planned.now)

    @abstractmethod
    def _observation(self, planned: Planned) -> dict[str, Any] | None:
        """What the camera would see."""


class TruePictures(Shown):
    """What each sub-task would lead to if it were carried out well."""

    def _observation(self, planned: Planned) -> dict[str, Any] | None:
        text = self._processor.sentence(planned.words)
        return end_of(self.world, text, planned.pointed.points[0].cpu().numpy(), self._rng)


class ShuffledPictures(Shown):
    """What the model paints of the first sub-task in another scene of the task, another one each time.

    These scenes are those of the seeds after the episode's own; nothing depends on what else is played.
    """

    def _observation(self, planned: Planned) -> dict[str, Any] | None:
        self._seed += 2
        observation, _ = beside(self.world).reset(seed=self._seed)
        plan = plan_ahead(self._model, self._processor, observation, Brush(), 1, self._seed)
        ends = [{"images.top": step.color, "depth.top": step.depth} for step in plan]
        return {**observation, **(ends[0] if ends else {})}  # as it is, where the model sees nothing to do


class PicturedPolicy(LoHoVLAPolicy):
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

    def __init__(self, env: Any, model: LoHoVLA, processor: Processor, rules: Rules, kind: type[Shown]):
        if not rules.pictured:
            raise UserError(f"policy.subtasks={rules.subtasks} acts on no pictures", "choose image or text+image")
        super().__init__(env, model, processor, rules)
        self._kind = kind
        self._shown: dict[int, Shown] = {}

    def reset(self, seed: int, slot: int = 0) -> None:
        """Begin an episode."""
        super().reset(seed, slot)
        self._shown[slot] = self._memories[slot].pictures = self._kind(self.model, self.processor, seed)

    def act_batch(self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context]) -> list[Decision]:
        """Decide for several episodes in one pass."""
        for context in contexts:
            self._shown[context.slot].world = context.world
        return super().act_batch(observations, contexts)


def true_pictures(env: Any, **settings: Any) -> PicturedPolicy:
    """The policy on :class:`TruePictures`; ``checkpoint``, ``device`` and :class:`Rules` by name."""
    return _make(env, TruePictures, **settings)


def shuffled_pictures(env: Any, **settings: Any) -> PicturedPolicy:
    """The policy on :class:`ShuffledPictures`; ``checkpoint``, ``device`` and :class:`Rules` by name."""
    return _make(env, ShuffledPictures, **settings)


def _make(
    env: Any, kind: type[Shown], checkpoint: str | None = None, device: str = "cpu", **rules: Any
) -> PicturedPolicy:
    check_settings("custom", Rules, rules, env=False)
    model, processor = load(checkpoint, device)
    return PicturedPolicy(env, model, processor, Rules(**{"subtasks": "image", **rules}), kind)
