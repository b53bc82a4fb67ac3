"""A policy of the nano model's size and shape, with random weights: real work for measuring a server.

A convolution turns the picture from above into 200 tokens, a transformer encodes them, and ten flow steps turn a
chunk of zeros into actions on their cached keys and values. On top of that the state enters linearly, and each
episode counts its decisions, so that whoever knows the weights can tell which request, and of which episode, a
reply answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lohovla.policies.base import Context, Decision, Policy, PolicySpec

HORIZON = 16
STATE = 13
_WIDTH, _HEADS, _PATCH = 192, 6, 16


class _Block(nn.Module):
    """A transformer block that looks at its own tokens, or at a prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.query, self.pair, self.out = (nn.Linear(_WIDTH, n * _WIDTH) for n in (1, 2, 1))
        self.feed = nn.Sequential(nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Linear(4 * _WIDTH, _WIDTH))

    def keys_values(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        return [self._split(half) for half in self.pair(tokens).chunk(2, -1)]

    def forward(self, x: torch.Tensor, prefix: list[torch.Tensor] | None = None) -> torch.Tensor:
        inner = self.norm1(x)
        keys, values = prefix or self.keys_values(inner)
        seen = nn.functional.scaled_dot_product_attention(self._split(self.query(inner)), keys, values)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.feed(self.norm2(x))

    @staticmethod
    def _split(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (_HEADS, -1)).transpose(1, 2)


class FakePolicyNetwork(nn.Module):
    """Pictures uint8 (B, H, W, 3) to chunks (B, HORIZON, action)."""

    def __init__(self, height: int, width: int, action: int, layers: int, flow_layers: int, steps: int):
        super().__init__()
        self.conv = nn.Conv2d(3, _WIDTH, _PATCH, _PATCH)
        self.places = nn.Parameter(torch.randn(height // _PATCH * (width // _PATCH), _WIDTH))
        self.encoder = nn.Sequential(*[_Block() for _ in range(layers)])
        self.flow = nn.ModuleList(_Block() for _ in range(flow_layers))
        self.enter, self.leave = nn.Linear(action, _WIDTH), nn.Linear(_WIDTH, action)
        self.slots = nn.Parameter(torch.randn(HORIZON, _WIDTH))
        self.steps, self.action = steps, action

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.conv(pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0).flatten(2).transpose(1, 2) + self.places
        x = self.encoder(x)
        blocks: list[_Block] = list(self.flow)  # pyright: ignore[reportAssignmentType]
        prefixes = [block.keys_values(x) for block in blocks]
        chunk = x.new_zeros(len(x), HORIZON, self.action)
        for _ in range(self.steps):
            y = self.enter(chunk) + self.slots
            for block, prefix in zip(blocks, prefixes, strict=True):
                y = block(y, prefix)
            chunk = chunk + self.leave(y) / self.steps
        return chunk


class FakePolicy(Policy):
    """The stem as a policy; its weights follow from ``weights``.

    Args:
        env: what it is for: its ``images.top`` and its action space.
        weights: seed of the weights.
        layers, flow_layers, steps: how much work a decision is.
    """

    def __init__(self, env: Any, weights: int = 0, layers: int = 2, flow_layers: int = 2, steps: int = 10):
        height, width, _ = env.observation_space["images.top"].shape
        self.spec = PolicySpec(
            ("images.top", "state", "instruction"),
            env.control,
            env.action_space.shape,
            HORIZON,
            env.control_hz,
            frozenset({"subtask"}),
        )
        size = int(np.prod(self.spec.action_shape))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(weights)
            self.model = FakePolicyNetwork(height, width, size, layers, flow_layers, steps).eval()
            self.state_weights = torch.randn(STATE, HORIZON * size).numpy()
        self._episodes: dict[int, tuple[int, int]] = {}  # seed and decisions of each slot

    def reset(self, seed: int, slot: int = 0) -> None:
        """Begin to count anew."""
        self._episodes[slot] = seed, 0

    def act(self, observation: Mapping[str, Any], context: Context) -> Decision:
        """Decide for one."""
        return self.act_batch([observation], [context])[0]

    def act_batch(self, observations: Sequence[Mapping[str, Any]], contexts: Sequence[Context]) -> list[Decision]:
        """Decide for all in one forward."""
        pictures = self.of_pictures([observation["images.top"] for observation in observations])
        decisions = []
        for picture, observation, context in zip(pictures, observations, contexts, strict=True):
            seed, count = self._episodes[context.slot]
            self._episodes[context.slot] = seed, count + 1
            actions = picture + self.of_state(observation["state"])
            decisions.append(Decision(actions.reshape(HORIZON, *self.spec.action_shape), told(seed, count), count == 0))
        return decisions

    def of_pictures(self, pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The pictures' share of the actions, float32 (B, HORIZON, action)."""
        with torch.inference_mode():
            return self.model(torch.from_numpy(np.stack(pictures))).numpy()  # type: ignore

    def of_state(self, state: np.ndarray) -> np.ndarray:
        """The state's share, float32 (HORIZON, action)."""
        return (state @ self.state_weights).reshape(HORIZON, -1)


def told(seed: int, count: int) -> str:
    """The sub-task of an episode's decision ``count``."""
    return f"decision {count} of episode {seed}"
