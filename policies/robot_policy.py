"""The policy of a core that learned from a robot's demonstrations: it looks at every chunk, and plans where it can.

It reads the cameras, state and words of its training data and says that data's own actions. Where the data had
sub-tasks, it plans one, acts on it until it sees that it is done, or for too long, and plans again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lohovla.data.dataset_layout import EE_NAMES
from lohovla.data.features import RobotFeatures, match_features
from lohovla.errors import UserError
from lohovla.model.checkpoint import load_robot_checkpoint
from lohovla.model.inference.pick_place_prediction import subtask_from_tokens
from lohovla.model.inference.robot_actions import RobotActionContext, action_chunk, action_sampler, read_subtask
from lohovla.model.inference.subtask_decoding import decode_autoregressive, decode_block_diffusion
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.robot_processor import RobotProcessor
from lohovla.policies.base import DONE, Context, Decision, Policy, PolicySpec
from lohovla.policies.realtime_policy import SubtaskPlan


@dataclass(frozen=True)
class RobotPolicyConfig:
    """How the policy plans and acts.

    Attributes:
        num_inference_steps: denoising steps of a chunk.
        n_action_steps: actions of each chunk that are carried out before it looks again.
        planner: ``ar`` (word by word) or ``d2f`` (block diffusion).
        success_threshold: progress from which a sub-task is called done.
        subtask_timeout: seconds after which a sub-task is given up, and another one planned.
        allow_done: may say that all is done, which ends the episode.
    """

    num_inference_steps: int = 4
    n_action_steps: int = 8
    planner: str = "ar"
    success_threshold: float = 0.9
    subtask_timeout: float = 8.0
    allow_done: bool = False

    def __post_init__(self) -> None:
        if self.num_inference_steps < 1 or self.n_action_steps < 1:
            raise UserError("num_inference_steps and n_action_steps are at least 1", "4 and 8 are the defaults")
        if self.planner not in ("ar", "d2f"):
            raise UserError(f"policy.planner cannot be {self.planner!r}", "choose ar or d2f")


@dataclass
class RobotEpisode:
    """What is remembered of one episode.

    Attributes:
        noise: its stream of noise.
        subtask: in words; "" before the first, or where nothing is planned.
        tokens: of it.
        started: step at which it was planned; None before the first.
        progress: how far the model thinks that it is.
        over: ``done`` once that was said.
    """

    noise: torch.Generator
    subtask: str = ""
    tokens: list[int] = field(default_factory=list)
    started: int | None = None
    progress: float = 0.0
    over: str = ""


class RobotPolicy(Policy):
    """Plays with a checkpoint of ``lohovla train dataset=...``.

    Args:
        env: what it is for: its features, action space and rate.
        model: the core.
        processor: of its checkpoint.
        config: how.
        rename: names of the environment's cameras, by the names that the checkpoint was trained with: offered to read.

    Raises:
        UserError: what the environment offers does not fit what the checkpoint reads and says.
    """

    def __init__(
        self,
        env: Any,
        model: LoHoVLA,
        processor: RobotProcessor,
        config: RobotPolicyConfig,
        rename: Mapping[str, str] | None = None,
    ):
        self.model, self.processor, self.config = model, processor, config
        offers: RobotFeatures = env.features
        where = f"the environment {getattr(env, 'name', '') or type(env).__name__}"
        any_rate = getattr(env, "takes_any_rate", False)
        self._cameras = match_features(processor.features, offers, rename or {}, where, check_fps=not any_rate)
        self._shape, hz = env.action_space.shape, processor.features.fps
        control = "ee" if processor.features.action_names == EE_NAMES else env.control
        self.spec = PolicySpec(
            (*(f"images.{name}" for name in self._cameras.values()), "state", "instruction"),
            control,
            self._shape,
            model.config.chunk_size,
            hz,
            frozenset({"subtask", "progress"} if processor.subtasks_known else ()),
            prefix=model.config.max_prefix > 0,
        )
        self.flow_steps = config.num_inference_steps
        self._episodes: dict[int, RobotEpisode] = {}

    def reset(self, seed: int, slot: int = 0) -> None:
        """Begin an episode."""
        self._episodes[slot] = RobotEpisode(torch.Generator().manual_seed(seed))

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """Decide for one episode."""
        return self.act_batch([observation], [context])[0]

    @torch.no_grad()
    def act_batch(self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context]) -> list[Decision]:
        """Decide for several episodes in one pass."""
        episodes = [self._episodes[context.slot] for context in contexts]
        began = time.perf_counter()
        due = [row for row, context in enumerate(contexts) if self._planning_due(episodes[row], context)]
        if due:
            self._plan([observations[row] for row in due], [contexts[row] for row in due])
        planned = time.perf_counter()
        seen = self._context(observations, episodes)
        chunks = self._chunks(seen, episodes)[:, : self.config.n_action_steps]
        timing = {"plan": (planned - began) * 1e3, "act": (time.perf_counter() - planned) * 1e3}
        progress = seen.progress.tolist()
        decisions = []
        for row, (episode, actions) in enumerate(zip(episodes, chunks, strict=True)):
            episode.progress = progress[row] if self.processor.subtasks_known else 0.0
            own = Decision(
                actions.reshape(-1, *self._shape),
                episode.subtask,
                row in due,
                None,
                episode.progress,
                timing,
                episode.over,
            )
            decisions.append(own)
        return decisions

    # -- planning ------------------------------------------------------------------------------------------

    def _planning_due(self, episode: RobotEpisode, context: Context) -> bool:
        """At the start, when the sub-task is seen to be done, and when it takes too long."""
        if not self.processor.subtasks_known or episode.over:
            return False
        if episode.started is None or episode.progress >= self.config.success_threshold:
            return True
        return context.step - episode.started >= self.config.subtask_timeout * self.spec.control_hz

    def _plan(self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context]) -> None:
        """Say a sub-task for each, from the pictures and the goal."""
        prefix = self.model.encode_robot(self.processor(observations, None, self._cameras).to(self.model.device))
        start, end = self.processor.start, self.processor.end
        if self.config.planner == "d2f":
            words = decode_block_diffusion(self.model, prefix, start, end, self.processor.mask)
        else:
            words = decode_autoregressive(self.model, prefix, start, end)
        for tokens, context in zip(words.tokens, contexts, strict=True):
            episode = self._episodes[context.slot]
            episode.tokens, episode.subtask = tokens, self.processor.sentence(tokens)
            episode.started, episode.progress = context.step, 0.0
            if self.config.allow_done and episode.subtask == DONE:
                episode.over = "done"

    # -- acting --------------------------------------------------------------------------------------------

    def _context(
        self, observations: Sequence[Mapping[str, Any]], episodes: Sequence[RobotEpisode]
    ) -> RobotActionContext:
        """The observations as the action head reads them, told each episode's sub-task."""
        told = [episode.subtask for episode in episodes]
        inputs = self.processor(observations, told, self._cameras).to(self.model.device)
        prefix = self.model.encode_robot(inputs)
        tokens = [episode.tokens for episode in episodes]
        return read_subtask(self.model, subtask_from_tokens(self.model, prefix, tokens, self.processor.start), prefix)

    def _chunks(
        self, seen: RobotActionContext, episodes: Sequence[RobotEpisode], prefix: Tensor | None = None
    ) -> np.ndarray:
        """Actions (B, H, A) in the robot's units, which continue a normalised ``prefix`` (B, d, A)."""
        shape = self.model.config.chunk_size, self.model.config.action_dim
        noise = torch.stack([torch.randn(shape, generator=episode.noise) for episode in episodes])
        steps = self.config.num_inference_steps
        chunk = action_chunk(self.model, seen, steps, noise.to(self.model.device), prefix)
        return self.processor.actions(chunk, self._state(seen))

    def _state(self, seen: RobotActionContext) -> np.ndarray:
        """Proprioception (B, n) in its own units."""
        return self.processor.state.inverse(seen.state).cpu().numpy()

    # -- in real time --------------------------------------------------------------------------------------

    @torch.no_grad()
    def plan(self, observation: Mapping[str, Any], context: Context) -> SubtaskPlan:
        """The next sub-task; an empty one where the training data had none."""
        episode = self._episodes[context.slot]
        began = time.perf_counter()
        if self.processor.subtasks_known:
            self._plan([observation], [context])
        timing = {"plan": (time.perf_counter() - began) * 1e3}
        return SubtaskPlan(episode.subtask, None, list(episode.tokens), timing, episode.over)

    @torch.no_grad()
    def chunk(
        self,
        observation: Mapping[str, Any],
        context: Context,
        plan: SubtaskPlan,
        prefix: np.ndarray | None = None,
        inference_delay: int = 0,
    ) -> Decision:
        """The next actions of a sub-task, from the pictures of now; keeps ``inference_delay`` actions of ``prefix``."""
        seen, episode = self.encode(observation, context, plan), self._episodes[context.slot]
        began = time.perf_counter()
        kept = min(inference_delay, self.model.config.max_prefix)
        given = None if prefix is None or not kept else self.normalize(prefix[:kept], seen)[None]
        actions = self._chunks(seen, [episode], given)[0]
        if prefix is not None and kept:
            actions[:kept] = prefix[:kept]
        return self._decided(actions, seen, plan, {"act": (time.perf_counter() - began) * 1e3})

    @torch.no_grad()
    def encode(self, observation: Mapping[str, Any], context: Context, plan: SubtaskPlan) -> RobotActionContext:
        """What the action head reads, of an observation and a plan."""
        episode = self._episodes[context.slot]
        told = RobotEpisode(episode.noise, plan.subtask, list(plan.memory or ()))
        return self._context([observation], [told])

    def velocity(self, x: Tensor, t: float, encoding: RobotActionContext) -> Tensor:
        """The field at ``x`` (H, A), normalised, and time ``t`` in (0, 1]."""
        return action_sampler(self.model, encoding).velocity(x[None], x.new_full((1, len(x)), t))[0]

    def normalize(self, actions: np.ndarray, encoding: RobotActionContext) -> Tensor:
        """Actions (n, A) in the model's own space, on its device."""
        flat = np.asarray(actions, np.float32).reshape(1, len(actions), -1)
        return self.processor.chunks(flat, self._state(encoding))[0].to(self.model.device)

    def finish(self, x: Tensor, encoding: RobotActionContext) -> Decision:
        """The decision of a denoised ``x`` (H, A)."""
        return self._decided(self.processor.actions(x[None], self._state(encoding))[0], encoding, SubtaskPlan(), {})

    def _decided(
        self, actions: np.ndarray, seen: RobotActionContext, plan: SubtaskPlan, timing: Mapping[str, float]
    ) -> Decision:
        progress = float(seen.progress[0]) if self.processor.subtasks_known else 0.0
        return Decision(
            actions.reshape(-1, *self._shape), plan.subtask, progress=progress, timing=timing, over=plan.over
        )


def make_robot_policy(
    env: Any, checkpoint: str, device: str = "cpu", rename: Mapping[str, str] | None = None, **settings: Any
) -> RobotPolicy:
    """The policy of a checkpoint, with :class:`RobotPolicyConfig` by name.

    Raises:
        UserError: the environment does not say what it offers, or it does not fit.
    """
    model, processor = load_robot_checkpoint(checkpoint, device)
    if not hasattr(env, "features"):
        raise UserError(
            f"{type(env).__name__} does not say what cameras, state and actions it has",
            "an environment's `features` is a lohovla.data.features.RobotFeatures",
        )
    return RobotPolicy(env, model, processor, RobotPolicyConfig(**settings), rename)
