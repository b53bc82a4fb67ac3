"""What the LoHoVLA policy goes by, and what it remembers of an episode."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from lohovla.errors import UserError
from lohovla.model.backends.inference_backend import BACKENDS
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.policies.replan_rule import REPLAN, SubtaskFailures, failures_allowed
from lohovla.policies.subgoal_source import SubgoalSource
from lohovla.settings.renamed_settings import refuse_old_choice

_CHOICES = {
    "subtasks": ("text", "image", "text+image", "none"),
    "planner": ("ar", "d2f"),
    "grammar": ("scene", "all", "none"),
    "replan": REPLAN,
    "progress": ("reward", "model"),
    "backend": BACKENDS,
}


@dataclass(frozen=True)
class LoHoVLAPolicyConfig:
    """How the policy plans and acts.

    Attributes:
        subtasks: what is acted on: ``text`` (the planned words), ``image`` (the picture of the end, painted from the
            words, which are hidden from acting), ``text+image`` (both), ``none`` (the goal alone: nothing is planned).
        planner: ``ar`` (word by word) or ``d2f`` (block diffusion).
        grammar: what may be said word by word: ``scene`` (sub-tasks of what is seen and asked for), ``all``
            (sub-tasks), ``none`` (anything). What block diffusion says is checked, and said again word by word where
            it may not be said.
        exclude_failed: after a failure that calls for another sub-task, do not say the one that failed until one
            succeeds.
        replan: after a failure: ``never`` (the paper's a), ``always`` (b), or ``after_k_failures`` (c): after
            more than ``max_subtask_failures`` in a row.
        max_subtask_failures: K of rule (c).
        progress: ``reward`` (the simulator's, the published rule) or ``model`` (seen by the model, as on a robot).
        success_threshold: chance from which the model calls a sub-task done.
        num_inference_steps: denoising steps of a chunk.
        n_action_steps: actions of each ``ee`` chunk that are carried out.
        allow_done: may say that all is done, or that nothing (more) can be done, which ends the episode. A simulator
            ends an episode itself: there, saying it too early only loses.
        subtask_timeout: seconds after which an ``ee`` sub-task is given up; more where the arm is too slow for its way.
        backend: how the passes are computed: ``eager``, ``fused`` or ``compile`` (``inference_backend``).
        generate_subgoals: paint the end of each new sub-task, the decision's ``subgoal``, for people where nothing acts
            on it.
    """

    subtasks: str = "text"
    planner: str = "ar"
    grammar: str = "scene"
    exclude_failed: bool = True
    replan: str = "after_k_failures"
    max_subtask_failures: int = 1
    progress: str = "reward"
    success_threshold: float = 0.5
    num_inference_steps: int = 4
    n_action_steps: int = 8
    allow_done: bool = False
    subtask_timeout: float = 8.0
    backend: str = "eager"
    generate_subgoals: bool = False

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            refuse_old_choice(f"policy.{name}", getattr(self, name))
            if getattr(self, name) not in choices:
                raise UserError(
                    f"policy.{name} cannot be {getattr(self, name)!r}", f"choose one of {', '.join(choices)}"
                )
        if self.num_inference_steps < 1 or self.n_action_steps < 1 or self.max_subtask_failures < 0:
            raise UserError(
                "policy.num_inference_steps and policy.n_action_steps are at least 1, policy.max_subtask_failures 0",
                "4, 8 and 1 are the defaults",
            )

    @property
    def failures_allowed(self) -> float:
        """Failures in a row after which the same sub-task is tried once more, by the rule that is set."""
        return failures_allowed(self.replan, self.max_subtask_failures)

    @property
    def uses_subgoal_images(self) -> bool:
        """Whether sub-goal pictures are acted on."""
        return "image" in self.subtasks

    @property
    def generates_subgoals(self) -> bool:
        """Whether sub-goal pictures are painted."""
        return self.uses_subgoal_images or self.generate_subgoals


@dataclass
class PolicyState:
    """What is remembered of one episode.

    Attributes:
        noise: its stream of noise.
        subgoal_source: makes the pictures of its sub-tasks' ends.
        failures: of the sub-task under way.
        goal: in words.
        subtask_tokens: tokens of the sub-task; None before the first.
        action_context: what the action expert reads.
        initial_features: of the detector at the points when the sub-task began.
        over: ``done`` or ``nothing`` once that was said, see :class:`~lohovla.policies.base.Decision`.
        path_length: m from where the tool was when the sub-task was planned, to where it picks, places and looks again.
        failed_subtasks: sub-tasks in tokens that were given up since the last success.
        has_gripped: whether suction was on within this motion (``ee``).
        motion_start: step at which the motion began.
        reward: collected since then.
        progress: how far the model thinks that the sub-task is.
        last_action_delta: difference of the last two commands, x, y, z, yaw.
        timing: of the last look, ms by stage.
        subgoal: the picture of the sub-task's end, uint8 (H, W, 3), if one was made.
        subgoal_input: the same as the stem sees it (1, 4, H, W).
    """

    noise: torch.Generator
    subgoal_source: SubgoalSource
    failures: SubtaskFailures
    goal: str = ""
    subtask_tokens: list[int] | None = None
    action_context: ActionContext | None = None
    initial_features: torch.Tensor | None = None
    over: str = ""
    path_length: float = 0.0
    failed_subtasks: list[list[int]] = field(default_factory=list)
    has_gripped: bool = False
    motion_start: int = 0
    reward: float = 0.0
    progress: float = 0.0
    last_action_delta: np.ndarray = field(default_factory=lambda: np.zeros(4, np.float32))
    timing: dict[str, float] = field(default_factory=dict)
    subgoal: np.ndarray | None = None
    subgoal_input: torch.Tensor | None = None


def last_action_delta(actions: np.ndarray | None) -> np.ndarray:
    """The difference of the last two of some commands: x, y, z, yaw (4,); none where they are not known."""
    if actions is None or actions.shape[-1] != 7 or len(actions) < 2:
        return np.zeros(4, np.float32)
    return (actions[-1] - actions[-2])[[0, 1, 2, 5]].astype(np.float32)
