"""Initial states in which blocks hide others: towers and a pyramid, and bowls to sort what was hidden.

Distractor blocks never have the colour of a hidden block: the sub-task "pick up the red block" must have
one meaning once the red block is uncovered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lohovla.envs.tasks.entities import BIG, SMALL, Pose
from lohovla.envs.tasks.scene_sampler import SceneSampler
from lohovla.envs.tasks.sort import Sort


def two_layer_towers(layout: SceneSampler, matching: bool) -> Sort:
    """Four to seven blocks in towers of a big one over a small one; an odd one stands alone."""
    colors = layout.pick_colors(layout.count(4, 7))
    bowls = {layout.bowl(color): color for color in colors}
    lower, upper = colors[0::2], colors[1::2]
    hidden = {}
    for below, above in zip(lower, upper, strict=False):
        foot = layout.block(below, SMALL, within=None)
        layout.block_on(above, BIG, foot)
        hidden[foot] = below
    if len(lower) > len(upper):
        layout.block(lower[-1], SMALL)
    _distract(layout, list(hidden.values()))
    allowed = {b: tuple(w for w, tint in bowls.items() if (tint == c) == matching) for b, c in hidden.items()}
    return Sort(allowed, exclusive=not matching, extra_moves=len(hidden))


def three_layer_towers(layout: SceneSampler) -> Sort:
    """Two towers, each a big block over two small ones, and a bowl for each hidden block; one more at times."""
    colors = layout.pick_colors(layout.count(6, 7))
    hidden_colors = [colors[0], colors[1], colors[3], colors[4]]
    spare = [color for color in colors if color not in hidden_colors]
    bowls = {color: layout.bowl(color) for color in [*hidden_colors, *spare[: layout.count(0, 2)]]}
    allowed = {}
    for first in (0, 3):
        foot = layout.block(colors[first])
        middle = layout.block_on(colors[first + 1], SMALL, foot)
        layout.block_on(colors[first + 2], BIG, middle)
        allowed[foot] = (bowls[colors[first]],)
        allowed[middle] = (bowls[colors[first + 1]],)
    if len(colors) == 7:
        layout.block(colors[6])
    return Sort(allowed, extra_moves=2)


def pyramid(layout: SceneSampler) -> Sort:
    """Three, two and one block of one size; bowls for the first layer and up to two more."""
    edge = SMALL if layout.count(0, 1) else BIG
    colors = layout.pick_colors(layout.count(6, 7))
    bowls = {color: layout.bowl(color) for color in colors[: layout.count(3, 5)]}
    pitch = edge + 0.01
    x, y, yaw = layout.reserve(1.5 * pitch + edge / 2)
    blocks = []
    for layer, steps in enumerate(((-1.0, 0.0, 1.0), (-0.5, 0.5), (0.0,))):
        for step in steps:
            place = (x + step * pitch * math.cos(yaw), y + step * pitch * math.sin(yaw))
            pose = Pose(*place, edge * (layer + 0.5), yaw)
            blocks.append(layout.block_at(colors[len(blocks)], edge, pose))
    if len(colors) == 7:
        layout.block(colors[6], edge)
    return Sort({block: (bowls[color],) for block, color in zip(blocks[:3], colors[:3], strict=True)}, extra_moves=3)


def _distract(layout: SceneSampler, hidden_colors: Sequence[str]) -> None:
    """Up to two small blocks whose colours are not among the hidden ones."""
    layout.distractors(2, used=hidden_colors, kinds=("block",))
