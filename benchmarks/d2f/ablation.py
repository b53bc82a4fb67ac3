"""What each choice of the distillation is worth: one student a choice, of one teacher, on the same problems.

Every student is trained by ``lohovla distill`` with the same steps, batches and seed as the first one, and differs from
it in one setting. A student that is complete in the folder is not trained again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lohovla.benchmarks.bench_utils import emit
from lohovla.errors import UserError

STUDENTS: dict[str, tuple[str, ...]] = {
    "monotone": (),
    "chain-uniform": ("student.schedule=chain-uniform",),
    "random": ("student.schedule=random",),
    "reverse-kl": ("student.divergence=reverse",),
    "causal-prompt": ("student.prompt=causal",),
    "no-padding": ("student.train_padding=false",),
    "block-8": ("block=8",),
    "block-32": ("block=32",),
}
COMMON = ("tasks={open-plan: 0.5, plan: 0.0, short-plan: 0.0, arithmetic: 0.5}",)


def run(
    folder: Path,
    model: str | None,
    students: list[str],
    steps: int,
    batch: int,
    tasks: list[str],
    problems: int,
    blocks: list[int],
    threads: int | None,
) -> dict[str, Any]:
    """Train what is missing, then measure and print the table and the JSON line.

    Args:
        folder: for the students, one folder each.
        model: the teacher; the shipped one's base if None.
        students: of :data:`STUDENTS`.
        steps: of training, each.
        batch: sequences a step.
        tasks: text tasks.
        problems: of each, validation seeds.
        blocks: tokens a block in decoding, as multiples of the training block.
        threads: of torch; its own choice if None.
    """
    import torch

    from lohovla.benchmarks.d2f import compare_students
    from lohovla.benchmarks.d2f.text_problems import VALIDATION

    unknown = [name for name in students if name not in STUDENTS]
    if unknown or not students:
        raise UserError(
            f"there is no student {unknown[0] if unknown else students!r}", f"there are {', '.join(STUDENTS)}"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    made = [_student(folder / name, model, STUDENTS[name], steps, batch) for name in students]
    rows = compare_students.run(model, [str(one) for one in made], blocks, tasks, problems, VALIDATION)
    first = rows[0]
    return emit(
        "ablation",
        f"tokens a forward, {first['task']}, {students[0]}",
        first["tokens_a_forward"],
        "tokens/forward",
        baseline=None,
        ratio=None,
        floor=None,
        model=model or "shipped",
        steps=steps,
        batch=batch,
        problems=problems,
        threads=torch.get_num_threads(),
        figures=rows,
    )


def _student(folder: Path, model: str | None, choice: tuple[str, ...], steps: int, batch: int) -> Path:
    """The folder of an adapter, trained if it is not there."""
    from lohovla.settings.hydra_config import compose
    from lohovla.train.distill import run_distill as training

    adapter = folder / "adapter"
    if not adapter.exists():
        given = (f"steps={steps}", f"batch={batch}", "device=cpu", *(() if model is None else (f"model={model}",)))
        folder.mkdir(parents=True, exist_ok=True)
        training.student(compose("distill", [*COMMON, *given, *choice]))(folder)
    return adapter
