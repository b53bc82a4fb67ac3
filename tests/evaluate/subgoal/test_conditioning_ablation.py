"""Where the model points by what it is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lohovla.evaluate.subgoal.conditioning_ablation import TOLD, compare_conditioning
from lohovla.evaluate.subgoal.subgoal_image_metrics import cases
from lohovla.model.attention_mask import TokenType
from lohovla.model.inference import pick_place_prediction
from lohovla.model.processor import picture_of


@pytest.fixture(scope="module")
def found():
    return list(cases(("pick-and-place-primitive",), (1, 3, 5)))


def test_each_way_is_told_what_its_name_says(tiny, found, monkeypatch):
    """A pointer that picks right where there are words, and places right where there is a picture."""
    model, processor = tiny
    right = torch.from_numpy(np.stack([case.points for case in found])).float()
    point = pick_place_prediction.predict_pick_place

    def scripted(model, prefix, words):
        pointed = point(model, prefix, words)
        points = torch.zeros_like(pointed.points)
        of = right[:2] if len(points) == 2 else right[2:]
        if any(words.tokens):
            points[:, 0] = of[:, 0]
        if (words.layout.kind == int(TokenType.SUBGOAL)).any():
            points[:, 1] = of[:, 1]
        return replace(pointed, points=points)

    shown = []
    monkeypatch.setattr(pick_place_prediction, "predict_pick_place", scripted)
    monkeypatch.setattr(model.stem, "forward", _noting(model.stem.forward, shown))
    done = []
    figures = compare_conditioning(model, processor, found, batch=2, progress=done.append)
    assert done == [2, 1]
    for name, (worded, which) in TOLD.items():
        assert figures[name] == {"pick": worded, "place": which is not None, "both": worded and which is not None}
    # The true pictures and the neighbours' were looked at, each as often as two ways need them.
    after = [picture_of(*(torch.from_numpy(case.after[k])[None] for k in range(2)))[0] for case in found]
    for picture in after:
        assert sum(torch.equal(picture, one) for one in shown) == 4


def _noting(forward, shown):
    def noted(picture):
        shown.extend(picture)
        return forward(picture)

    return noted
