"""The general core behind LeRobot's interface for policies."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from huggingface_hub import snapshot_download
from lerobot.configs import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot_policy_lohovla.batch_conversion import observations_of, training_batch
from lerobot_policy_lohovla.configuration_lohovla import LeRobotLoHoVLAConfig
from omegaconf import OmegaConf
from torch import Tensor

from lohovla.data.dataset_folder import DatasetChoice
from lohovla.data.dataset_source import open_source, picture_sizes
from lohovla.data.features import CameraFeature, RobotFeatures, camera_name, match_features, numbered
from lohovla.data.frame_table import FrameTable, frame_table
from lohovla.data.training_statistics import exact_statistics
from lohovla.errors import UserError
from lohovla.model.checkpoint import load_robot_checkpoint, save_checkpoint
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.robot_processor import RobotProcessor
from lohovla.policies.base import Context
from lohovla.policies.robot_policy import RobotPolicy, RobotPolicyConfig
from lohovla.settings.hydra_config import compose
from lohovla.train.imitation.demonstration_batch import ImitationSettings, demonstration_batch
from lohovla.train.imitation.demonstration_forward import DemonstrationForward
from lohovla.train.run_imitation import new_robot_model, stage_of

FOLDER = "lohovla"  # in LeRobot's checkpoints: the core's own, as `lohovla evaluate policy.checkpoint=` takes it
_PLAIN = ImitationSettings(0, 0.0, 1, 0.0, 0.0)  # pictures as they are, and nothing hidden


class LeRobotLoHoVLAPolicy(PreTrainedPolicy):
    """A core that learned from demonstrations, or that LeRobot trains.

    It plans and acts as :class:`lohovla.policies.robot_policy.RobotPolicy` does in ``lohovla evaluate``: from the same
    observations and seeds come the same actions. The k-th observation of a batch belongs to the k-th of the episodes
    that run at once.

    Args:
        config: its settings.
        dataset_meta: of the data set to learn from (``lerobot.datasets.LeRobotDatasetMetadata``), if any.
        kwargs: what LeRobot gives beside; not used.

    Raises:
        UserError: there is neither a checkpoint nor a data set, or what is offered does not fit.
    """

    config_class = LeRobotLoHoVLAConfig
    name = "lohovla"
    config: LeRobotLoHoVLAConfig

    def __init__(self, config: LeRobotLoHoVLAConfig, dataset_meta: Any = None, **kwargs: Any):
        super().__init__(config)
        config.validate_features()
        if config.checkpoint is None and dataset_meta is None:
            raise UserError(
                "there is no checkpoint and no data set to make a core for",
                "--policy.checkpoint=FOLDER of `lohovla train dataset=...`, or --policy.path=FOLDER of lerobot-train",
            )
        training: Any = OmegaConf.to_container(compose("train-dataset", config.settings))
        self._stage = stage_of(training)
        self._imitation = ImitationSettings(**training["recipe"]["imitation"])
        self.table: FrameTable | None = None
        source = None
        if dataset_meta is not None:
            source = open_source(DatasetChoice(str(dataset_meta.root)), config.rename)
            self.table = frame_table([source], np.ones(len(source.wanted), bool), None)
        if config.checkpoint is not None:
            self.model, self.processor = load_robot_checkpoint(config.checkpoint)
            if source is not None:
                has = source.features(source.found.cameras, picture_sizes(source.found.cameras, 1))
                match_features(self.processor.features, has, {}, source.name, renamed=config.rename)
        else:
            assert source is not None
            self.model, self.processor = _new_core(training, source, self.table)
        config.chunk_size = self.model.config.chunk_size
        lora = bool(self.model.config.lora_rank)
        for parameter_name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._stage.trains(parameter_name, lora))
        offered = _offered(config, self.processor.features)
        self._cameras = match_features(self.processor.features, offered, config.rename, "what LeRobot offers")
        size = len(offered.action_names)
        env = SimpleNamespace(
            features=offered, control="action", action_space=Box(-np.inf, np.inf, (size,)), name="LeRobot"
        )
        rules = RobotPolicyConfig(
            config.num_inference_steps,
            self.model.config.chunk_size,
            config.planner,
            config.success_threshold,
            config.subtask_timeout,
        )
        self._player = RobotPolicy(env, self.model, self.processor, rules, config.rename)
        self._begun = 0  # episodes, over all resets
        self.reset()

    # -- acting --------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Begin new episodes with the next observations."""
        self._queue: deque[Tensor] = deque()
        self._steps: int | None = None
        self.subtasks: list[str] = []

    @torch.no_grad()
    def select_action(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        """The next action of each episode (B, A); a chunk is asked for when the last one is used up."""
        if not self._queue:
            chunk = self.predict_action_chunk(batch, **kwargs)
            self._queue.extend(chunk[:, : self.config.n_action_steps].transpose(0, 1))
        return self._queue.popleft()

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        """A chunk of actions for each episode (B, H, A), in the data set's units.

        It is taken that ``n_action_steps`` of the chunk before were carried out. ``subtasks`` tells what is acted on.

        Raises:
            ValueError: noise is given: it follows from ``noise_seed``.
        """
        if kwargs.get("noise") is not None:
            raise ValueError("the core draws its noise itself: --policy.noise_seed")
        self.eval()
        observations = observations_of(batch, self.config.instruction)
        if self._steps is None:
            for slot in range(len(observations)):
                self._player.reset(self.config.noise_seed + self._begun + slot, slot)
            self._begun += len(observations)
            self._steps = 0
        contexts = [Context(self._steps, slot=slot) for slot in range(len(observations))]
        decisions = self._player.act_batch(observations, contexts)
        self._steps += self.config.n_action_steps
        self.subtasks = [decision.subtask for decision in decisions]
        return torch.from_numpy(np.stack([decision.actions for decision in decisions])).to(self.model.device)

    def supports_text_generation(self) -> bool:
        """Whether it was trained on sub-tasks, so that it can say the next one."""
        return self.processor.subtasks_known

    @torch.no_grad()
    def generate_text(self, batch: dict[str, Tensor]) -> list[str]:
        """The next sub-task of each observation, from its pictures and its task; the episodes go on as they were.

        Raises:
            UserError: the core was trained without sub-tasks.
        """
        if not self.supports_text_generation():
            raise UserError(
                "this core was trained without sub-tasks: it has none to say",
                "train on a data set that has them (language_persistent or subtask_index)",
            )
        self.eval()
        said = []
        for observation in observations_of(batch, self.config.instruction):
            aside = -1  # a slot that no episode has
            self._player.reset(self.config.noise_seed, aside)
            said.append(self._player.plan(observation, Context(slot=aside)).subtask)
        return said

    # -- learning ------------------------------------------------------------------------------------------

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The weighted loss of a batch, and its parts: those of ``lohovla train dataset=...``."""
        settings = self._imitation if self.training else _PLAIN
        given = training_batch(batch, self.processor, self.table, self._cameras)
        demonstrations = demonstration_batch(given, self.processor, settings).to(self.model.device)
        losses = DemonstrationForward(self.model, demonstrations, self.processor, settings).losses()
        total = torch.stack([self._stage.weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        return total, {f"loss/{name}": loss.item() for name, loss in losses.items()}

    def get_optim_params(self) -> list[torch.nn.Parameter]:
        """The parameters that are trained: all but those that ``freeze`` names."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    # -- files ---------------------------------------------------------------------------------------------

    def _save_pretrained(self, save_directory: Path, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """LeRobot's ``config.json``, and the core's checkpoint in the folder ``lohovla`` beside it."""
        replace(self.config, checkpoint=None)._save_pretrained(save_directory)
        if state_dict is not None:  # gathered from several processes
            weights = {name.removeprefix("model."): value for name, value in state_dict.items()}
            self.model.load_state_dict(weights)
        stages = sorted({*self.model.config.trained_stages, "imitation"})
        self.model.config.trained_stages = stages
        save_checkpoint(self.model, self.processor, save_directory / FOLDER)

    @classmethod
    def from_pretrained(
        cls, pretrained_name_or_path: str | Path, *, config: PreTrainedConfig | None = None, **kwargs: Any
    ) -> LeRobotLoHoVLAPolicy:
        """Open what :meth:`save_pretrained` wrote, in a folder or on the hub.

        Args:
            pretrained_name_or_path: the folder, or ``OWNER/NAME``.
            config: in place of the saved one.
            kwargs: ``dataset_meta`` of the data set to learn from; ``revision`` on the hub.

        Raises:
            UserError: there is no such checkpoint, or it does not fit.
        """
        folder = Path(pretrained_name_or_path)
        if not folder.is_dir():
            folder = Path(snapshot_download(str(pretrained_name_or_path), revision=kwargs.get("revision")))
        config = config or PreTrainedConfig.from_pretrained(folder)
        assert isinstance(config, LeRobotLoHoVLAConfig)
        config.checkpoint = str(folder / FOLDER)
        policy = cls(config, kwargs.get("dataset_meta"))
        policy.to(config.device)
        return policy.eval()


def _offered(config: LeRobotLoHoVLAConfig, own: RobotFeatures) -> RobotFeatures:
    """What the features that LeRobot has filled in offer; numbers have no names there, and the rate is not told."""
    cameras = tuple(
        CameraFeature(camera_name(feature), *entry.shape[1:]) for feature, entry in config.image_features.items()
    )
    state, action = config.robot_state_feature, config.action_feature
    assert action is not None
    states = numbered("state", int(np.prod(state.shape)) if state else 0)
    return RobotFeatures(cameras, states, numbered("action", int(np.prod(action.shape))), own.fps)


def _new_core(training: Mapping[str, Any], source: Any, table: FrameTable | None) -> tuple[LoHoVLA, RobotProcessor]:
    """An untrained core for a data set."""
    assert table is not None
    settings = training["recipe"]["model"]
    if settings.get("relative_actions") or settings.get("rotation_actions"):
        raise UserError(
            "relative_actions and rotation_actions need statistics that LeRobot's training does not make",
            "begin with `lohovla train dataset=...` and give its checkpoint: --policy.checkpoint=FOLDER",
        )
    cameras = source.choose_cameras(training["cameras"])
    features = source.features(cameras, picture_sizes(cameras, training["image_height"]))
    statistics = {
        kind: exact_statistics(values)
        for kind, values in (("state", table.state), ("action", table.action))
        if values.shape[1]
    }
    features = replace(features, statistics=statistics)
    has_subtasks = bool((table.subtask >= 0).any())
    return new_robot_model(settings, features, table.texts, training["seed"], has_subtasks)
