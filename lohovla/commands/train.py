"""``lohovla train``: all stages of a recipe, or one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.settings import results_folder


def run(config: DictConfig) -> int:
    """Train, from where it was stopped if ``output`` names a folder with a state; print where the checkpoint is."""
    import torch

    from lohovla.train.recipe import Run

    if config.threads:
        torch.set_num_threads(config.threads)
    settings: Any = OmegaConf.to_container(config, resolve=True)
    ready = Run(settings, Path(config.output) if config.output else None)
    folder = Path(results_folder(config, "train"))
    print(f"to go on after an interruption, run again with output={folder}")
    checkpoint = ready.train(folder)
    print(f"checkpoint in {checkpoint}; try it: lohovla rollout policy=lohovla policy.checkpoint={checkpoint}")
    return 0
