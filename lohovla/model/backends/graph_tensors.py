"""What the graph functions take and give: dataclasses of tensors, registered as pytrees.

A runner reaches their tensors by :func:`tensors_of`, so that no function counts them or knows their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lohovla.d2f.block_state import DecodeState
from lohovla.model.attention_mask import SequenceLayout
from lohovla.model.backends.fused_decoder import Pairs
from lohovla.model.encoders.detector import DetectionMap, Detections
from lohovla.model.inference.action_sampling import ActionContext
from lohovla.model.tensor_batch import tensor_tree


@tensor_tree
@dataclass
class ObservationTensors:
    """An encoded observation.

    Attributes:
        seen: what the detector says.
        objects: that were chosen as tokens.
        tokens: states of the objects' tokens (B, K, hidden).
        layout: of the prefix.
        cache: its keys and values by layer (B, heads, L, head_dim).
    """

    seen: DetectionMap
    objects: Detections
    tokens: Tensor
    layout: SequenceLayout
    cache: Pairs


@tensor_tree
@dataclass
class WordTensors:
    """Words that enter the decoder.

    Attributes:
        tokens: (B, w).
        valid: which are no padding (B, w).
        order: their places in the text (B, w).
    """

    tokens: Tensor
    valid: Tensor
    order: Tensor


@tensor_tree
@dataclass
class CanvasTensors:
    """The state of block diffusion that changes, see :class:`lohovla.d2f.block_state.DecodeState`.

    Attributes:
        tokens: (B, n).
        open: blocks that have been appended (B,).
        full: which blocks are fully activated (B, blocks).
        retired: blocks that are committed (B,).
        ended: whether a block with an end is open (B,).
    """

    tokens: Tensor
    open: Tensor
    full: Tensor
    retired: Tensor
    ended: Tensor

    @classmethod
    def from_state(cls, state: DecodeState) -> CanvasTensors:
        """What of a state changes."""
        return cls(state.tokens, state.open, state.full, state.retired, state.ended)


@tensor_tree
@dataclass
class PointTensors:
    """Where sub-tasks pick and place.

    Attributes:
        points: (B, 2, 5).
        confidence: (B, 2).
        layout: of all that the decoder has run.
        cache: keys and values of what was run for it: the words, and the points.
    """

    points: Tensor
    confidence: Tensor
    layout: SequenceLayout
    cache: Pairs


@tensor_tree
@dataclass
class GivenActions:
    """First actions of a chunk, that it continues.

    Attributes:
        actions: (B, H, A), zeros behind the given ones.
        fixed: which are given (B, H).
    """

    actions: Tensor
    fixed: Tensor


@tensor_tree
@dataclass
class DecisionTensors:
    """A whole decision: ``DecisionOutputs``, and what going on pass by pass needs.

    Attributes:
        progress: chance that the sub-task under way is done (B,).
        replanned: where a new one took its place (B,).
        complete: whether its words were all decided (B,).
        subtask_tokens: words of the sub-tasks (B, max_subtask), the end behind them.
        action_context: what the action expert read.
        initial_features: features of the points as they are now (B, 2, dim).
        action: the chunks.
        observation: as it was encoded.
    """

    progress: Tensor
    replanned: Tensor
    complete: Tensor
    subtask_tokens: Tensor
    action_context: ActionContext
    initial_features: Tensor
    action: Tensor
    observation: ObservationTensors


def tensors_of(tree: Any) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], Any]]:
    """The tensors of a pytree, and what makes the same tree of others. What is no tensor, None say, stays."""
    leaves, spec = pytree.tree_flatten(tree)
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def rebuilt(tensors: Sequence[Tensor]) -> Any:
        others = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            others[place] = tensor
        return pytree.tree_unflatten(others, spec)

    return [leaves[place] for place in places], rebuilt


def padded_shapes(tree: Any, rows: int, widths: dict[int, int] | None = None) -> Any:
    """The same tree with a ``torch.Size`` for each tensor: its shape with the first axis, and others, widened.

    Args:
        tree: of tensors (B, ...).
        rows: length of the first axis.
        widths: of other axes, by number.

    >>> padded_shapes(torch.zeros(3, 4, 5), 4, {2: 32})
    torch.Size([4, 4, 32])
    """
    sizes = {0: rows, **(widths or {})}
    return pytree.tree_map_only(Tensor, lambda x: torch.Size(sizes.get(k, n) for k, n in enumerate(x.shape)), tree)


def shapes_of(tree: Any) -> list[torch.Size]:
    """The shapes of a tree of :func:`padded_shapes`, in the order of :func:`tensors_of`."""
    leaves = pytree.tree_leaves(tree, is_leaf=lambda leaf: isinstance(leaf, torch.Size))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Size)]
