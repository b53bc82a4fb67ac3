"""``lohovla distill``: train a small text model, or a D2F adapter for any diffusion language model."""

from __future__ import annotations

from omegaconf import DictConfig

from lohovla.errors import UserError
from lohovla.settings.hydra_config import results_folder


def run(config: DictConfig) -> int:
    """Train the stage that ``config.stage`` names; say where the result is and how to go on."""
    stages = ("student", "base")
    if config.stage not in stages:
        raise UserError(f"there is no stage {config.stage!r}", "stage=student or stage=base")
    from lohovla.d2f.load_checkpoint import check_device
    from lohovla.train.distill import run_distill as training

    if config.device is not None:
        check_device(config.device)
    folder = results_folder(config, "distill")
    complete = (training.base if config.stage == "base" else training.student)(config, folder)
    if not complete:
        print(f"stopped early; `lohovla distill output={folder}` with the same settings goes on")
    print(f"results in {folder}")
    return 0
