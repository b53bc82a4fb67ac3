"""The policy's settings, as ``--policy.KEY=VALUE`` of LeRobot's commands."""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.configs import NormalizationMode, PreTrainedConfig
from lerobot.optim import AdamWConfig, DiffuserSchedulerConfig


def _as_they_are() -> dict[str, NormalizationMode]:
    # The core's own processor normalises: LeRobot must not do it a second time.
    return dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)


@PreTrainedConfig.register_subclass("lohovla")
@dataclass
class LeRobotLoHoVLAConfig(PreTrainedConfig):
    """Settings of :class:`lerobot_policy_lohovla.modeling_lohovla.LeRobotLoHoVLAPolicy`.

    Attributes:
        checkpoint: folder of a checkpoint of ``lohovla train dataset=...`` to begin from; None is a new core, made for
            the data set.
        rename: names of cameras offered to names that the checkpoint reads: ``{"image": "top"}``.
        instruction: what is to be done, in words, where an environment does not say it (gym-pusht, gym-aloha).
        settings: of ``lohovla train``, for a new core and for how it learns: ``["recipe.model.chunk_size=8"]``,
            ``image_height``, ``recipe.imitation``, ``freeze``.
        n_action_steps: actions of each chunk that are carried out before the policy looks again.
        num_inference_steps: denoising steps of a chunk.
        planner: ``ar`` or ``d2f``: how sub-tasks are decoded.
        success_threshold: progress from which a sub-task is called done.
        subtask_timeout: seconds after which a sub-task is given up.
        noise_seed: the noise of the n-th episode follows from ``noise_seed + n``. Give ``lerobot-eval`` the same number
            as its ``--seed``, and an episode has the noise that ``lohovla evaluate`` gives to the episode of that seed.
        normalization_mapping: identity: the core normalises by itself.
        chunk_size: actions in a chunk; set from the checkpoint.
    """

    checkpoint: str | None = None
    rename: dict[str, str] = field(default_factory=dict)
    instruction: str = ""
    settings: list[str] = field(default_factory=list)
    n_action_steps: int = 8
    num_inference_steps: int = 4
    planner: str = "ar"
    success_threshold: float = 0.9
    subtask_timeout: float = 8.0
    noise_seed: int = 0
    chunk_size: int = 16
    normalization_mapping: dict[str, NormalizationMode] = field(default_factory=_as_they_are)
    optimizer_lr: float = 1e-3
    optimizer_weight_decay: float = 1e-2
    scheduler_warmup_steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.normalization_mapping.values()) - {NormalizationMode.IDENTITY}:
            raise ValueError("the core normalises by itself: leave --policy.normalization_mapping as it is")

    @property
    def observation_delta_indices(self) -> None:
        """One observation, that of now."""
        return

    @property
    def action_delta_indices(self) -> list[int]:
        """The actions of a chunk, from now on."""
        return list(range(self.chunk_size))

    @property
    def reward_delta_indices(self) -> None:
        """No rewards."""
        return

    def get_optimizer_preset(self) -> AdamWConfig:
        """AdamW."""
        return AdamWConfig(lr=self.optimizer_lr, weight_decay=self.optimizer_weight_decay, grad_clip_norm=1.0)

    def get_scheduler_preset(self) -> DiffuserSchedulerConfig:
        """A linear rise, then half a cosine."""
        return DiffuserSchedulerConfig(name="cosine", num_warmup_steps=self.scheduler_warmup_steps)

    def validate_features(self) -> None:
        """See that there is an action.

        Raises:
            ValueError: there is none.
        """
        if self.action_feature is None:
            raise ValueError("the data set or environment has no feature 'action'")
