"""Initial states in which blocks hide others: towers and a pyramid, and bowls to sort what was hidden.

Distractor blocks never have the colour of a hidden block: the sub-task "pick up the red block" must have
one meaning once the red block is uncovered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lohovla.envs.tasks.entities import BIG, SMALL, Pose
from lohovla.envs.tasks.grammar.meaning import Meaning, Place, who
from lohovla.envs.tasks.scene_sampler import SceneSampler


def two_layer_towers(layout: SceneSampler, matching: bool) -> Meaning:
    """Four to seven blocks in towers of a big one over a small one; an odd one stands alone."""
    colors = layout.pick_colors(layout.count(4, 7))
    for color in colors:
        layout.bowl(color)
    lower, upper = colors[0::2], colors[1::2]
    for below, above in zip(lower, upper, strict=False):
        layout.block_on(above, BIG, layout.block(below, SMALL))
    if len(lower) > len(upper):
        layout.block(lower[-1], SMALL)
    _distract(layout, lower[: len(upper)])
    meant = who(cover="covered", structure="two-layer-towers")
    if matching:
        return Meaning("place", meant, where=Place("bowl", "same"))
    return Meaning("each", meant, where=Place("bowl", "other"))


def three_layer_towers(layout: SceneSampler) -> Meaning:
    """Two towers, each a big block over two small ones, and a bowl for each hidden block; one more at times."""
    colors = layout.pick_colors(layout.count(6, 7))
    hidden_colors = [colors[0], colors[1], colors[3], colors[4]]
    spare = [color for color in colors if color not in hidden_colors]
    for color in [*hidden_colors, *spare[: layout.count(0, 2)]]:
        layout.bowl(color)
    for first in (0, 3):
        middle = layout.block_on(colors[first + 1], SMALL, layout.block(colors[first]))
        layout.block_on(colors[first + 2], BIG, middle)
    if len(colors) == 7:
        layout.block(colors[6])
    return Meaning("place", who(cover="covered", structure="three-layer-towers"), where=Place("bowl", "same"))


def pyramid(layout: SceneSampler) -> Meaning:
    """Three, two and one block of one size; bowls for the first layer and up to two more."""
    edge = SMALL if layout.count(0, 1) else BIG
    colors = layout.pick_colors(layout.count(6, 7))
    for color in colors[: layout.count(3, 5)]:
        layout.bowl(color)
    pitch = edge + 0.01
    x, y, yaw = layout.reserve(1.5 * pitch + edge / 2)
    rest = iter(colors)
    for layer, steps in enumerate(((-1.0, 0.0, 1.0), (-0.5, 0.5), (0.0,))):
        for step in steps:
            place = (x + step * pitch * math.cos(yaw), y + step * pitch * math.sin(yaw))
            pose = Pose(*place, edge * (layer + 0.5), yaw)
            layout.block_at(next(rest), edge, pose)
    if len(colors) == 7:
        layout.block(colors[6], edge)
    meant = who(cover="covered", layer="bottom", structure="pyramid")
    return Meaning("place", meant, where=Place("bowl", "same"))


def _distract(layout: SceneSampler, hidden_colors: Sequence[str]) -> None:
    """Up to two small blocks whose colours are not among the hidden ones."""
    layout.distractors(2, used=hidden_colors, kinds=("block",))
