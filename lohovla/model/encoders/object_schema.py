"""The attributes of an object, once: as the simulator labels them, and as the detector describes them.

Every order of columns follows from here: the labels of :mod:`lohovla.collect.privileged_labels`, what the detector's
head says of a cell, and the description (``facts``) of an object that becomes a token.
"""

from __future__ import annotations

from itertools import accumulate

KINDS = ("block", "bowl", "zone")
SUPPORTS = ("table", "zone", "bowl", "block")
N_COLORS, N_SUPPORTS = 11, len(SUPPORTS)

# Columns of a label: what the simulator knows of an object. The colour of the table, as a support, is N_COLORS.
LABELS = ("kind", "color", "big", "x", "y", "z", "yaw", "support", "support_color", "occupied")
LABEL = {name: column for column, name in enumerate(LABELS)}
LABEL_XY = slice(LABEL["x"], LABEL["y"] + 1)

# What the detector says of an object, and with how many numbers.
ATTRIBUTES = {
    "offset": 2,  # of the centre from the cell's, in cells, along x and y
    "height": 1,  # of its top face, in units of 5 cm
    "turn": 2,  # cosine and sine of four times the yaw: a square repeats every quarter turn
    "color": N_COLORS,
    "big": 1,
    "support": N_SUPPORTS,
    "support_color": N_COLORS + 1,
    "occupied": 1,
}
ATTRIBUTE_DIM = sum(ATTRIBUTES.values())

# The description of an object: its kind one-hot, the score, and the attributes as probabilities.
FACTS = {"kind": len(KINDS), "score": 1, **ATTRIBUTES}
FACT_DIM = sum(FACTS.values())
FACT = {
    name: slice(end - width, end) for (name, width), end in zip(FACTS.items(), accumulate(FACTS.values()), strict=True)
}
