"""A policy of LeRobot (ACT, Diffusion, ...) in this project's evaluation, real-time loop and policy server.

LeRobot is imported where the policy is made; where it cannot be, the policy runs behind a policy server in an
environment that has it (docs/lerobot.md).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lohovla.data.features import CameraFeature, RobotFeatures, camera_name, match_features, numbered
from lohovla.data.resize_images import resize_pictures
from lohovla.errors import SetupError, UserError
from lohovla.policies.base import Context, Decision, Policy, PolicySpec

_STATE, _TRUE_STATE = "observation.state", "observation.environment_state"


@dataclass
class LeRobotEpisode:
    """An episode that LeRobot's policy plays.

    Attributes:
        policy: shares its weights with those of other episodes, and has queues of its own.
        random: states of the generators that it draws its noise from, of the CPU and of the GPU where it is on one.
    """

    policy: Any
    random: tuple[Tensor, Tensor | None]


class LeRobotPolicy(Policy):
    """Plays with a checkpoint of ``lerobot-train``, its own processors before and after it.

    A policy that reads one observation gives ``n_action_steps`` actions at once; one that reads several (Diffusion), or
    that averages chunks, is asked for every action.

    Args:
        env: what it is for: its features and action space.
        checkpoint: a folder (``.../pretrained_model``), or ``OWNER/NAME`` on the hub.
        device: of its weights.
        rename: names of the environment's cameras to names that the checkpoint reads.

    Raises:
        SetupError: LeRobot is not installed here.
        UserError: there is no such checkpoint, or what the environment offers does not fit it.
    """

    def __init__(self, env: Any, checkpoint: str, device: str = "cpu", rename: Mapping[str, str] | None = None):
        self._policy, self._before, self._after = _load(checkpoint, device)
        config = self._policy.config
        if _TRUE_STATE in config.input_features:
            raise UserError(
                f"{checkpoint} reads {_TRUE_STATE}, which no robot has", "use a policy that was trained on pictures"
            )
        self._features = {camera_name(key): key for key in config.image_features}
        self._sizes = {camera_name(key): entry.shape[1:] for key, entry in config.image_features.items()}
        cameras = tuple(CameraFeature(name, *size) for name, size in self._sizes.items())
        state, action = config.robot_state_feature, config.action_feature
        offers: RobotFeatures = env.features
        size = int(np.prod(state.shape)) if state else len(offers.state_names)
        reads = RobotFeatures(
            cameras, numbered("state", size), numbered("action", int(np.prod(action.shape))), offers.fps
        )
        where = f"the environment {getattr(env, 'name', '') or type(env).__name__}"
        self._cameras = match_features(reads, offers, rename or {}, where)
        self._reads_state, self._shape = state is not None, env.action_space.shape
        averages = getattr(config, "temporal_ensemble_coeff", None) is not None
        self._whole = config.n_obs_steps == 1 and not averages
        self._horizon = config.n_action_steps if self._whole else 1
        pictures = tuple(f"images.{name}" for name in self._cameras.values())
        keys = (*pictures, *(["state"] if self._reads_state else []), "instruction")
        self.spec = PolicySpec(keys, env.control, self._shape, self._horizon, env.control_hz)
        self._episodes: dict[int, LeRobotEpisode] = {}

    def reset(self, seed: int, slot: int = 0) -> None:
        """Begin an episode."""
        own = copy.copy(self._policy)  # its modules are the same
        for name, value in vars(self._policy).items():
            if not name.startswith(("_parameters", "_buffers", "_modules")) and not callable(value):
                own.__dict__[name] = copy.deepcopy(value)
        own.reset()
        random = torch.Generator().manual_seed(seed).get_state()
        device = torch.device(self._policy.config.device)
        on_gpu = torch.Generator(device).manual_seed(seed).get_state() if device.type == "cuda" else None
        self._episodes[slot] = LeRobotEpisode(own, (random, on_gpu))

    @torch.no_grad()
    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """Decide for one episode."""
        episode = self._episodes[context.slot]
        with _random_of(episode):
            batch = self._before(self._batch(observation))
            if self._whole:
                chunk = episode.policy.predict_action_chunk(batch)[:, : self._horizon]
            else:
                chunk = episode.policy.select_action(batch)[:, None]
        actions = torch.stack([self._after(chunk[:, step])[0] for step in range(chunk.shape[1])])
        return Decision(actions.float().cpu().numpy().reshape(-1, *self._shape))

    def _batch(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """A batch of one, as LeRobot's evaluation makes it of an environment's observation."""
        batch: dict[str, Any] = {"task": [str(observation["instruction"])]}
        if self._reads_state:
            batch[_STATE] = torch.from_numpy(np.array(observation["state"], np.float32))[None]
        for name, key in self._features.items():
            picture = np.asarray(observation[f"images.{self._cameras[name]}"])[None]
            picture = resize_pictures(picture, *self._sizes[name]).astype(np.float32)
            batch[key] = torch.from_numpy(picture).permute(0, 3, 1, 2) / 255
        return batch


@contextmanager
def _random_of(episode: LeRobotEpisode) -> Iterator[None]:
    """Draw from an episode's own generators: LeRobot's policies draw from torch's."""
    cpu, gpu = episode.random
    with torch.random.fork_rng(devices=None if gpu is not None else []):
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu)
        yield
        episode.random = torch.get_rng_state(), None if gpu is None else torch.cuda.get_rng_state()


def _load(checkpoint: str, device: str) -> tuple[Any, Any, Any]:
    """The policy of a checkpoint, and its pre- and post-processor."""
    try:
        from lerobot.configs import PreTrainedConfig  # pyright: ignore[reportMissingImports]
        from lerobot.policies import make_pre_post_processors  # pyright: ignore[reportMissingImports]
        from lerobot.policies.factory import get_policy_class  # pyright: ignore[reportMissingImports]
        from lerobot.utils.import_utils import register_third_party_plugins  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SetupError(
            f"policy=lerobot cannot import {error.name}",
            "with Python 3.12: pip install 'lerobot[dataset]==0.6.1'; or serve it from an environment that has LeRobot"
            " and use policy=remote (docs/lerobot.md)",
        ) from None
    register_third_party_plugins()
    try:
        config = PreTrainedConfig.from_pretrained(checkpoint)
        config.device = device
        policy = get_policy_class(config.type).from_pretrained(checkpoint, config=config)
        before, after = make_pre_post_processors(
            config, checkpoint, preprocessor_overrides={"device_processor": {"device": device}}
        )
    except UserError:
        raise
    except Exception as error:  # LeRobot's many kinds: no such name, other versions, a package that is missing
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"LeRobot cannot open {checkpoint}: {line:.200}",
            "it is a folder .../pretrained_model of lerobot-train 0.6, or OWNER/NAME on the hub",
        ) from None
    return policy.eval(), before, after
