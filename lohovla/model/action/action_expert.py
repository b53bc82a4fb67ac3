"""The action head: a chunk of actions denoised jointly by a small transformer on the decoder's cache.

It gives the velocity of :mod:`~lohovla.model.action.flow_matching`. Its actions are relative to the pick and the place
that the pointer attended to, or, with ``action``, the data set's own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lohovla.model.action.flow_matching import sinusoidal_embedding
from lohovla.model.configuration import ACTION_DIMS, LoHoVLAConfig
from lohovla.model.device_constants import constant_like
from lohovla.model.keyframes.pick_place_head import POINT_DIM

# How actions are scaled: metres and radians to numbers of about one.
PICK_PLACE_SCALE = (0.01, 0.01, 0.01, 0.2)
EE_REACH = 0.1  # m
EE_HZ = 20.0  # actions a second of a chunk, as the teacher was recorded
ANCHORS = 8
TRANSIT, APPROACH = 0.24, 0.02  # m: at which the teacher travels, and above which it slows down
_REST = 0.1  # how much of what is said beside the anchors counts
_SHORTEST = 0.02  # noise level below which velocities are not divided any further
_TWIST = 0.5  # rad


class ActionExpert(nn.Module):
    """Velocity of a noisy chunk, given the cached prefix and, by the action space, the points or the state.

    ``action`` is the head that learns from demonstrations: chunks of a data set's own normalised actions. ``ee`` and
    ``pick_place`` are those of the block world, told the two points.

    Each layer attends to the keys and values of one of the decoder's last layers and to the chunk itself; time, the
    same for all actions or one each (0 for actions given clean), scales and shifts every layer (Peebles & Xie, DiT).
    """

    def __init__(self, config: LoHoVLAConfig, control: str):
        super().__init__()
        text, width = config.text_config, config.expert_dim
        dim = config.action_dim if control == "action" else ACTION_DIMS[control]
        self.heads, self.head_dim = config.expert_heads, head_dim(text)
        self.enter, self.leave = nn.Linear(dim, width), nn.Linear(width, dim)
        self.blend = nn.Linear(width, 4 * ANCHORS) if control == "ee" and config.ee_waypoints else None
        self._says_clean = control == "ee"
        own = config.state_dim + config.text_config.hidden_size
        given = {"ee": EE_CONDITION_DIM, "pick_place": 2 * POINT_DIM, "action": own}[control]
        horizon = config.chunk_size if control == "action" else config.horizons[control]
        self.condition = nn.Sequential(nn.Linear(given, width), nn.SiLU(), nn.Linear(width, width))
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.place = nn.Parameter(torch.randn(horizon, width) * 0.02)
        # Actions given clean are marked where they enter, so that one noise level, the others', modulates the layers.
        self.clean = nn.Parameter(torch.randn(width) * 0.02) if control == "action" else None
        self.layers = nn.ModuleList(
            ActionExpertLayer(width, self.heads, self.head_dim) for _ in range(config.expert_layers)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Tensor,
        cache: list[tuple[Tensor, Tensor]],
        valid: Tensor,
        anchors: Tensor | None = None,
    ) -> Tensor:
        """The velocity (B, H, A).

        With ``anchors`` the expert says what the clean action is: for each coordinate a mixture of the anchors' plus
        a small rest. Hovering over a block is then a weight of one, and not a sum to be learned to the millimetre.
        Without ``config.ee_waypoints`` it says the clean action by itself, and the anchors are not looked at.

        Args:
            x: noisy chunk (B, H, A), scaled.
            t: noise level of each action (B, H).
            condition: (B, n) as :func:`ee_condition` or :func:`pick_place_condition` give it; for ``action`` the
                normalised state and what :class:`~lohovla.model.inference.robot_actions.RobotActionContext` says.
            cache: keys and values (B, heads, L, head_dim) of the decoder's last layers.
            valid: which cached positions may be seen (B, L).
            anchors: of :func:`ee_waypoints` (B, 4, ANCHORS), scaled as actions are.
        """
        given = self.condition(condition)[:, None]
        y = self.enter(x) + self.place[: x.shape[1]] + given
        if self.clean is not None:
            y = y + (t == 0)[..., None] * self.clean
            t = t.amax(1, keepdim=True)
        time = self.time(sinusoidal_embedding(t)) + given
        bias = torch.zeros(valid.shape[0], 1, 1, valid.shape[1] + x.shape[1], dtype=y.dtype, device=y.device)
        bias[..., : valid.shape[1]].masked_fill_(~valid[:, None, None], torch.finfo(y.dtype).min)
        for layer, (keys, values) in zip(self.layers, cache, strict=True):
            y = layer(y, time, keys, values, bias)
        return self.velocity(self.norm(y), x, t, anchors)

    def velocity(self, y: Tensor, x: Tensor, t: Tensor, anchors: Tensor | None) -> Tensor:
        """The velocity (B, H, A) that normed states ``y`` (B, H, width) say; the rest as in :meth:`forward`."""
        if anchors is None or not self._says_clean:
            return self.leave(y)
        if self.blend is None:
            return (x - self.leave(y)) / t[..., None].clamp(min=_SHORTEST)
        weights = self.blend(y).unflatten(-1, (4, ANCHORS)).softmax(-1)
        mixed = (weights * anchors[:, None]).sum(-1)  # x, y, z, yaw
        clean = self.leave(y) * _REST
        clean = torch.cat(
            [
                clean[..., :3] + mixed[..., :3],
                clean[..., 3:5],
                clean[..., 5:6] + mixed[..., 3:],
                clean[..., 6:] / _REST,
            ],
            -1,
        )
        return (x - clean) / t[..., None].clamp(min=_SHORTEST)


class ActionExpertLayer(nn.Module):
    """Joint attention over the cache and the chunk, then a perceptron; both modulated by time."""

    def __init__(self, width: int, heads: int, size: int):
        super().__init__()
        self.heads, self.size = heads, size
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.modulate = nn.Linear(width, 6 * width)
        self.qkv, self.out = nn.Linear(width, 3 * heads * size), nn.Linear(heads * size, width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, y: Tensor, time: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(F.silu(time)).chunk(6, -1)
        batch, n, _ = y.shape
        z = self.norm1(y) * (1 + scale1) + shift1
        q, k, v = self.qkv(z).view(batch, n, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(q, torch.cat([keys, k], 2), torch.cat([values, v], 2), attn_mask=bias)
        y = y + (1 + gate1) * self.out(z.transpose(1, 2).reshape(batch, n, -1))
        z = self.norm2(y) * (1 + scale2) + shift2
        return y + (1 + gate2) * self.down(F.silu(self.up(z)))


def head_dim(text: object) -> int:
    """The size of a decoder's attention heads."""
    return getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads  # type: ignore[attr-defined]


# -- pick_place: residuals to the points ------------------------------------------------------------------


def pick_place_condition(points: Tensor) -> Tensor:
    """Condition (B, 10) of the points (B, 2, 5)."""
    centre = constant_like(points, (0.5, 0.0, 0.05, 0.0, 0.05))
    scale = constant_like(points, (0.25, 0.5, 0.05, 0.5, 0.02))
    return ((points - centre) / scale).flatten(1)


def scale_pick_place(action: Tensor, points: Tensor) -> Tensor:
    """Actions (B, 1, 8) as scaled residuals to the points (B, 2, 5); turns modulo a quarter."""
    residual = action.view(-1, 2, 4) - points[..., :4]
    residual = torch.cat([residual[..., :3], modulo_quarter_turn(residual[..., 3:])], -1)
    return (residual / constant_like(residual, PICK_PLACE_SCALE)).reshape(-1, 1, 8)


def unscale_pick_place(scaled: Tensor, points: Tensor) -> Tensor:
    """Actions (B, 2, 4) of scaled residuals (B, 1, 8): pick and place as x, y, z (m), yaw (rad).

    The place's yaw is the turn nearest to the pick's, so that the wrist never turns by more than an eighth.
    """
    action = scaled.view(-1, 2, 4) * constant_like(scaled, PICK_PLACE_SCALE) + points[..., :4]
    pick = action[:, 0, 3]
    place = pick + modulo_quarter_turn(action[:, 1, 3] - pick)
    return torch.cat([action[..., :3], torch.stack([pick, place], 1)[..., None]], -1)


def modulo_quarter_turn(angle: Tensor) -> Tensor:
    """An angle modulo a quarter turn, in [-pi/4, pi/4)."""
    return torch.remainder(angle + math.pi / 4, math.pi / 2) - math.pi / 4


# -- ee: poses relative to the tool -------------------------------------------------------------------------


EE_CONDITION_DIM = 2 * 3 * 3 + 2 * 3 + 2 + 3 + 2 + 4


def ee_waypoints(points: Tensor, state: Tensor, look: tuple[float, ...]) -> Tensor:
    """Where the tool may be meant to be, scaled as actions are: x, y, z, yaw (B, 4, ANCHORS).

    In the plane: here, over the pick, over the place, where it looks from. In height: here, at each point, a little
    above each, where it travels, where it looks from. In turn: this, the pick's, the place's, none.

    Args:
        points: pick and place (B, 2, 5).
        state: proprioception (B, 13).
        look: position from which the table is in full view, m.
    """
    here, edge = state[:, :3], points[:, 0, 4]
    home = constant_like(state, look).expand_as(here)
    pick, place = points[:, 0], points[:, 1]
    plane = torch.stack([here[:, :2], pick[:, :2], place[:, :2], home[:, :2]], -1)
    plane = torch.cat([plane, plane], -1)  # as many as heights
    low = place[:, 2] + edge
    travel = torch.full_like(low, TRANSIT)
    height = torch.stack(
        [here[:, 2], pick[:, 2], pick[:, 2] + APPROACH, low, low + APPROACH, travel, home[:, 2], low + 0.5 * APPROACH],
        -1,
    )
    turn = pick[:, 3]
    other = turn + modulo_quarter_turn(place[:, 3] - turn)
    turns = torch.stack([state[:, 5], turn, other, torch.zeros_like(turn)], -1)
    turns = torch.cat([turns, turns], -1) - state[:, 5:6]
    plane = (plane - here[:, :2, None]) / EE_REACH
    height = (height - here[:, 2:3]) / EE_REACH
    return torch.cat([plane, height[:, None], turns[:, None] / _TWIST], 1)


def ee_condition(points: Tensor, state: Tensor, motion: Tensor) -> Tensor:
    """Condition (B, EE_CONDITION_DIM) of the points (B, 2, 5), the state (B, 13) and the motion (B, 4).

    The way to each point at three scales, so that both metres and millimetres can be read off. The motion is the
    difference of the last two commands (x, y, z, yaw): a state alone does not say how fast the tool is.
    """
    way = points[..., :3] - state[:, None, :3]
    scales = torch.cat([way / 0.3, torch.tanh(way / 0.03), torch.tanh(way / 0.005)], -1).flatten(1)
    turn = modulo_quarter_turn(points[..., 3] - state[:, None, 5])
    turns = torch.stack([turn.sin(), turn.cos(), turn / 0.2], -1).flatten(1)
    edges = (points[..., 4] - 0.05) / 0.01
    tool = (state[:, :3] - constant_like(state, (0.5, 0.0, 0.2))) / 0.2
    grip = torch.stack([state[:, 6] * 2 - 1, state[:, 5]], -1)
    moving = motion / constant_like(motion, (0.05, 0.05, 0.05, 0.1))
    return torch.cat([scales, turns, edges, tool, grip, moving], -1)


def scale_ee(action: Tensor, state: Tensor) -> Tensor:
    """Actions (B, H, 7) as positions from the tool's, in units of 10 cm; yaws from the tool's; the gripper +-1."""
    position = (action[..., :3] - state[:, None, :3]) / EE_REACH
    yaw = (action[..., 5:6] - state[:, None, 5:6]) / _TWIST
    return torch.cat([position, action[..., 3:5] / _TWIST, yaw, action[..., 6:] * 2 - 1], -1)


def unscale_ee(scaled: Tensor, state: Tensor) -> Tensor:
    """The inverse of :func:`scale_ee`; the gripper is on or off."""
    position = scaled[..., :3] * EE_REACH + state[:, None, :3]
    yaw = scaled[..., 5:6] * _TWIST + state[:, None, 5:6]
    return torch.cat([position, scaled[..., 3:5] * _TWIST, yaw, (scaled[..., 6:] > 0).to(scaled.dtype)], -1)
