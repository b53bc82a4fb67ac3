"""Who sees whom: the one sequence of the hybrid core, and its attention mask, position by position.

``[objects | patches | state | goal]`` is the prefix: it sees itself, both ways, and everything after it sees the
prefix. Then, once for each sub-task that is judged on the same prefix (a *group*): the sub-task's words, causal; a
noised copy of them, block-causal, for block diffusion; what the sub-goal picture would change, both ways; the two
pointing tokens; the tokens of a picture that is being painted. The action chunk is denoised by an expert of its own on
the cache, so nothing here sees it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import torch
from torch import Tensor

from lohovla.model.configuration import LoHoVLAConfig
from lohovla.model.tensor_batch import TensorBatch, tensor_tree


class TokenType(enum.IntEnum):
    """What a position of the sequence is."""

    PAD = 0
    OBJECT = 1
    STATE = 2
    GOAL = 3
    TEXT = 4
    NOISED = 5
    POINT = 6
    CONTENT = 7
    QUERY = 8
    PATCH = 9  # only some configurations have it
    SUBGOAL = 10  # has an entry of its own


PREFIX = (TokenType.OBJECT, TokenType.PATCH, TokenType.STATE, TokenType.GOAL)


@dataclass(frozen=True)
class PositionIds:
    """Position numbers (of the rotary embedding) of each part; they do not depend on how long the parts are."""

    state: int
    goal: int
    text: int
    point: int
    subgoal: int
    patch: int = 0
    object: int = 0

    @classmethod
    def from_config(cls, config: LoHoVLAConfig) -> PositionIds:
        """Those of a configuration. Patches come first, row by row; objects are a set: all stand at one."""
        objects = config.patches
        goal = objects + 2
        text = goal + config.goal_positions
        point = text + config.max_subtask + 1
        return cls(objects + 1, goal, text, point, point + 2, 0, objects)


@tensor_tree
@dataclass
class SequenceLayout(TensorBatch):
    """A sequence: for each position what it is, which sub-task it belongs to, and its order there.

    Attributes:
        kind: :class:`TokenType` (B, L).
        group: number of the sub-task; -1 in the prefix (B, L).
        order: place in the text; the block of a noised word; the set of an image token (B, L).
    """

    kind: Tensor
    group: Tensor
    order: Tensor

    @staticmethod
    def of_type(kind: TokenType, valid: Tensor, group: int = -1, order: Tensor | None = None) -> SequenceLayout:
        """A part of one kind, padding where ``valid`` (B, n) is false; ``order`` is (n,) or (B, n), else 0, 1, ..."""
        batch, n = valid.shape
        order = torch.arange(n, device=valid.device) if order is None else order
        return SequenceLayout(
            torch.where(valid, int(kind), int(TokenType.PAD)),
            torch.full((batch, n), group, device=valid.device),
            order.expand(batch, n),
        )

    @staticmethod
    def concat(parts: list[SequenceLayout]) -> SequenceLayout:
        """Parts one after the other."""
        return SequenceLayout(
            *(torch.cat([getattr(part, name) for part in parts], 1) for name in ("kind", "group", "order"))
        )

    def attention_mask(self, queries: slice | None = None) -> Tensor:
        """Whether each position (or those of ``queries``) may see each other, bool (B, 1, Q, L)."""
        q = slice(None) if queries is None else queries
        kind, group, order = self.kind[:, q, None], self.group[:, q, None], self.order[:, q, None]
        seen, same, before = self.kind[:, None], self.group[:, None] == group, self.order[:, None]
        text = is_(seen, TokenType.TEXT) & same
        point = is_(seen, TokenType.POINT) & same
        subgoal = is_(seen, TokenType.SUBGOAL) & same
        content = is_(seen, TokenType.CONTENT) & same
        picture = is_(kind, TokenType.CONTENT) | is_(kind, TokenType.QUERY)
        itself = torch.eye(self.kind.shape[1], dtype=torch.bool, device=kind.device)[q][None]
        may = is_(seen, *PREFIX)
        may = may | (is_(kind, TokenType.TEXT) & text & (before <= order))
        may = may | (is_(kind, TokenType.NOISED) & is_(seen, TokenType.NOISED) & same & (before <= order))
        may = may | (is_(kind, TokenType.SUBGOAL) & (text | subgoal))
        may = may | (is_(kind, TokenType.POINT) & (text | subgoal | (point & (before <= order))))
        may = may | (picture & (text | point))
        may = may | (is_(kind, TokenType.CONTENT) & content & (before <= order))
        may = may | (is_(kind, TokenType.QUERY) & content & (before < order))
        return ((may & ~is_(seen, TokenType.PAD)) | itself)[:, None]


def expert_attention_mask(layout: SequenceLayout, group: int | Tensor) -> Tensor:
    """Which cached positions the action expert may see (B, L): the prefix, the sub-task's words, picture and points.

    Args:
        layout: of the cache.
        group: the sub-task's number, of all rows or of each (B, 1).
    """
    own = (layout.group == group) & is_(layout.kind, TokenType.TEXT, TokenType.SUBGOAL, TokenType.POINT)
    return own | ((layout.group == -1) & ~is_(layout.kind, TokenType.PAD))


def is_(kind: Tensor, *kinds: TokenType) -> Tensor:
    """Where ``kind`` is one of ``kinds``."""
    found = kind == int(kinds[0])
    for other in kinds[1:]:
        found = found | (kind == int(other))
    return found
