"""``lohovla distill``: train a small text model, or a D2F adapter for any diffusion language model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from omegaconf import DictConfig

from lohovla.disk import hold, writing
from lohovla.errors import UserError
from lohovla.settings import results_folder


def run(config: DictConfig) -> int:
    """Train the stage that ``config.stage`` names; say where the result is and how to go on."""
    stages = ("student", "base")
    if config.stage not in stages:
        raise UserError(f"there is no stage {config.stage!r}", "stage=student or stage=base")
    from lohovla.d2f.distill import run as training
    from lohovla.d2f.load import check_device

    if config.device is not None:
        check_device(config.device)
    held = _hold(config.output)
    train = training.base(config) if config.stage == "base" else training.student(config)
    folder = results_folder(config, "distill")
    held = held or _hold(folder)
    try:
        with writing(folder, f"run again with output={folder} to go on"):
            complete = train(folder)
    finally:
        if held is not None:
            held.close()
    if not complete:
        print(f"stopped early; `lohovla distill output={folder}` with the same settings goes on")
    print(f"results in {folder}")
    return 0


def _hold(folder: Path | str | None) -> IO[str] | None:
    """Keep other trainings from a folder that exists; of several processes under torchrun the first does it for all."""
    if folder is None or not Path(folder).is_dir() or int(os.environ.get("RANK", "0")):
        return None
    return hold(Path(folder), "training")
