"""Sub-goal pictures: how near they come to what really comes, what they cost, and how well they tell what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lohovla.benchmarks.bench_utils import emit

_TITLES = {
    "copy": "copying the observation",
    "moved": "the picked pixels set down at the place",
    "coded": "the true picture through the autoencoder",
}


def run(
    checkpoint: str | None, tasks: Sequence[str], scenes: int, guidance: float, threads: int | None
) -> dict[str, Any]:
    """Paint every sub-task of ``scenes`` validation episodes of each task, print a table, and return the record."""
    from lohovla.evaluate.protocol import seeds_of, tasks_named
    from lohovla.evaluate.subgoal.conditioning_ablation import compare_conditioning
    from lohovla.evaluate.subgoal.subgoal_image_metrics import cases, compare_subgoals
    from lohovla.model.checkpoint import load_checkpoint
    from lohovla.model.inference.subgoal_generation import SubgoalSamplingConfig, require_subgoal_generator
    from lohovla.progress import progress

    if threads:
        torch.set_num_threads(threads)
    model, processor = load_checkpoint(checkpoint)
    require_subgoal_generator(model)
    found = list(cases(tasks_named(tasks), seeds_of("val", scenes)))
    brushes = {f"parallel {steps}": SubgoalSamplingConfig("parallel", steps, 4, guidance) for steps in (1, 4, 8)}
    brushes["raster"] = SubgoalSamplingConfig("raster", denoise=4, guidance=guidance)
    with progress(total=len(found), unit="sub-task") as bar:
        figures = compare_subgoals(model, processor, found, brushes, progress=bar.update)
    print("| picture | PSNR, dB | depth, mm | block seen at the place | gone from the pick | both | ms |")
    print("|---|---|---|---|---|---|---|")
    for name, row in figures.items():
        shares = " | ".join(f"{100 * row[key]:.0f} %" for key in ("placed", "gone", "agreed"))
        print(
            f"| {_TITLES.get(name, name)} | {row['psnr']:.1f} | {row['depth_mm']:.1f} | {shares} |"
            f" {row.get('ms', 0):.0f} |"
        )
    with progress(total=len(found), unit="sub-task") as bar:
        told = compare_conditioning(model, processor, found, progress=bar.update)
    print("\n| told | pick within 2 cm | place within 2 cm | both |")
    print("|---|---|---|---|")
    for name, row in told.items():
        print(f"| {name} | " + " | ".join(f"{100 * row[key]:.0f} %" for key in ("pick", "place", "both")) + " |")
    ours, copied = figures["parallel 4"], figures["copy"]
    return emit(
        "picture",
        "PSNR on changed patches",
        ours["psnr"],
        "dB",
        baseline=copied["psnr"],
        ratio=ours["psnr"] - copied["psnr"],
        floor=figures["coded"]["psnr"],
        figures=figures,
        told=told,
        subtasks=len(found),
        tasks=list(tasks),
        scenes=scenes,
        guidance=guidance,
    )
