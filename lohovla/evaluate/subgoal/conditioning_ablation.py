"""Where the model points by what it is told of a sub-task: its words, the picture of its end, both, or neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from lohovla.evaluate.subgoal.subgoal_image_metrics import SubgoalCase
from lohovla.model.inference import pick_place_prediction
from lohovla.model.inference.subgoal_generation import generate_subgoal
from lohovla.model.modeling_lohovla import LoHoVLA
from lohovla.model.processor import Processor, picture_of

_NEAR = 0.02  # m
# What is told: whether the words, and which picture.
TOLD: dict[str, tuple[bool, str | None]] = {
    "nothing": (False, None),
    "words": (True, None),
    "painted picture": (False, "painted"),
    "words and painted picture": (True, "painted"),
    "true picture": (False, "true"),
    "words and true picture": (True, "true"),
    "another scene's picture": (False, "other"),
    "words and another scene's picture": (True, "other"),
}


@torch.no_grad()
def compare_conditioning(
    model: LoHoVLA,
    processor: Processor,
    found: Sequence[SubgoalCase],
    batch: int = 8,
    progress: Callable[[int], object] = lambda count: None,
) -> dict[str, dict[str, float]]:
    """Shares of cases that are pointed at within 2 cm of the oracle's pick, its place, and both, for each of TOLD.

    Words may leave a place open, "on the table" say, where a picture does not.

    Args:
        model: the core; it must paint.
        processor: of the model.
        found: at least two; neighbours lend each other their pictures.
        batch: cases in a pass.
        progress: called with the number of cases done.
    """
    hits: dict[str, list[np.ndarray]] = {name: [] for name in TOLD}
    after = [torch.from_numpy(np.stack([case.after[k] for case in found])) for k in range(2)]
    true = picture_of(*after)
    pictures = {"true": true, "other": true.roll(1, 0)}
    for first in range(0, len(found), batch):
        some, at = found[first : first + batch], slice(first, first + batch)
        inputs = processor([case.observation for case in some]).to(model.device)
        prefix = model.encode(inputs)
        tokens = [processor.tokenizer.encode(case.text, add_special_tokens=False) for case in some]
        told = pick_place_prediction.predict_pick_place(
            model, prefix, pick_place_prediction.subtask_from_tokens(model, prefix, tokens, processor.start)
        )
        noise = torch.Generator().manual_seed(first)
        painted = generate_subgoal(model, inputs.picture, prefix.seen, told, generator=noise).picture
        given = {"painted": painted, **{name: all_of_them[at] for name, all_of_them in pictures.items()}}
        wanted = np.stack([case.points for case in some])[..., :2]
        for name, (worded, which) in TOLD.items():
            said = tokens if worded else [[]] * len(tokens)
            words = pick_place_prediction.subtask_from_tokens(model, prefix, said, processor.start)
            if which:
                then = model.stem(given[which].to(model.device, model.dtype))
                words = pick_place_prediction.append_subgoal(model, words, model.subgoal_entry(prefix.seen, then))
            points = pick_place_prediction.predict_pick_place(model, prefix, words).points.cpu().numpy()[..., :2]
            hits[name].append(np.linalg.norm(points - wanted, axis=-1) < _NEAR)
        progress(len(some))
    return {name: _shares(np.concatenate(rows)) for name, rows in hits.items()}


def _shares(hits: np.ndarray) -> dict[str, float]:
    return {"pick": float(hits[:, 0].mean()), "place": float(hits[:, 1].mean()), "both": float(hits.all(1).mean())}
