"""The models' part of the GPU benchmark: a decision of pi0's shape, the nano's, and training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lohovla.benchmarks.bench_utils import Row, graphed, timed
from lohovla.benchmarks.gpu.pi0 import Pi0
from lohovla.benchmarks.gpu.pi0_shape import Pi0Shape


@torch.inference_mode()
def decision(where: torch.device, shape: Pi0Shape, bandwidth: float, rate: float, rounds: int = 20) -> list[Row]:
    """A decision of pi0's shape, part by part: eager, and compiled layer by layer and fused, both in CUDA graphs."""
    with where:
        model = Pi0(shape).to(torch.bfloat16).eval().prepare()
    edge = shape.vision["image_size"]

    def drawn(*size: int) -> Tensor:
        return torch.randn(size, device=where, dtype=torch.bfloat16)

    pictures, words, state = (
        drawn(shape.views, 3, edge, edge),
        drawn(shape.words, shape.width),
        drawn(1, shape.expert_width),
    )
    noise = drawn(shape.chunk, shape.actions).float()
    tokens = model.look(pictures, words)
    cache = model.read(tokens, False)
    parts: dict[str, Callable[[bool], Any]] = {
        "vision": lambda fused: model.look(pictures, words),
        "prefix": lambda fused: model.read(tokens, fused),
        "chunk": lambda fused: model.act(cache, state, noise, fused),
    }
    floors = model.floor_counts()
    rows: dict[str, Row] = {name: {"part": name} for name in parts}
    for name, part in parts.items():
        rows[name]["eager ms"] = timed(partial(part, False), where, rounds)
        fused = graphed(partial(part, True), where)
        rows[name]["fused ms"] = timed(fused, where, rounds)
        if name == "chunk":
            rows[name]["apart"] = float((part(False) - fused()).abs().max())
    if where.type == "cuda":
        torch._dynamo.config.recompile_limit = 64  # type: ignore[attr-defined]
        model.compile_layers()
    for name, part in parts.items():
        try:
            rows[name]["compiled ms"] = timed(graphed(partial(part, False), where), where, rounds)
        except Exception as error:  # the fused figures stand without it
            rows[name]["error"] = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        moved, operations = floors[name]
        rows[name]["floor ms"] = max(moved / bandwidth, operations / rate) * 1e3
    return list(rows.values())


@torch.inference_mode()
def nano(where: torch.device, rounds: int = 20) -> list[Row]:
    """The shipped model's decision, part by part, by backend; of a part the tensors that it takes stay the same."""
    from lohovla.benchmarks.model.model import CHUNKS, decision_parts, observation_of
    from lohovla.model.backends.inference_backend import BACKENDS, InferenceBackend
    from lohovla.model.checkpoint import load_checkpoint

    model, processor = load_checkpoint(None, str(where))
    observation = observation_of("put-block-into-matching-bowl")
    rows: dict[str, Row] = {}
    wanted: dict[str, Tensor] = {}
    for backend in BACKENDS if where.type == "cuda" else ("eager", "fused"):
        try:
            parts = decision_parts(InferenceBackend(model, backend), processor, observation)
        except Exception as error:  # a backend that does not run must not hide the others
            rows[backend] = {"part": backend, "error": str(error).splitlines()[0][:200]}
            continue
        for name, part in parts.items():
            row = rows.setdefault(name, {"part": name})
            row[f"{backend} ms"] = timed(part, where, rounds)
            if name.startswith(CHUNKS):
                made = part()
                row[f"{backend} apart"] = float((made - wanted.setdefault(name, made)).abs().max())
    return list(rows.values())


def training(
    where: torch.device, rate: float, stages: Sequence[str] | None = None, drawn: int = 4, rounds: int = 10
) -> list[Row]:
    """Samples a second of the nano recipe's stages: losses, backward, clipping and AdamW on batches that are there.

    Args:
        where: the device.
        rate: operations a second of a matrix product, for the share.
        stages: their names; None takes all of the recipe.
        drawn: samples drawn from the simulator for each stage, repeated to the recipe's batch.
        rounds: steps timed.
    """
    from lohovla.model.checkpoint import load_checkpoint
    from lohovla.settings.hydra_config import compose

    recipe = compose("train", [])["recipe"]["stages"]
    rows = []
    for name in stages or list(recipe):
        model, processor = load_checkpoint(None, str(where))
        try:
            rows.append(_stage(name, dict(recipe[name]), model, processor, where, rate, drawn, rounds))
        except Exception as error:  # without a simulator here the stages that need none are still measured
            rows.append({"stage": name, "error": f"{type(error).__name__}: {error}".splitlines()[0][:200]})
    return rows


def _stage(
    name: str,
    settings: dict[str, Any],
    model: Any,
    processor: Any,
    where: torch.device,
    rate: float,
    drawn: int,
    rounds: int,
) -> Row:
    from lohovla.collect.training_stream import training_tasks
    from lohovla.data.samples import collate
    from lohovla.train.batch_source import BatchSource
    from lohovla.train.training_stages import Stage, StageLosses

    stage = Stage(name=name, **settings)
    kept = list(itertools.islice(iter(BatchSource(training_tasks(), workers=0).samples(stage, 0, 0, 1)), drawn))
    batch = collate([kept[k % len(kept)] for k in range(stage.batch)])
    losses = StageLosses(model, processor, stage)
    moved = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(moved, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.02)

    def step() -> None:
        with torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
            total = losses.total(losses(batch, 0))
        total.backward()
        torch.nn.utils.clip_grad_norm_(moved, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    with FlopCounterMode(display=False) as counter:
        step()
    spent, operations = timed(step, where, rounds), counter.get_total_flops()
    return {
        "stage": name,
        "batch": stage.batch,
        "step ms": spent,
        "samples/s": stage.batch / spent * 1e3,
        "GFLOP a step": operations / 1e9,
        "share of peak": operations / (spent * 1e-3) / rate,
    }
