"""``lohovla bench``: measure, and print one JSON object as the last line."""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.errors import UserError
from lohovla.settings.hydra_config import drop_results_folder, results_folder

# The module of each benchmark, and the settings that its `run` takes, in order.
_BENCHMARKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sim": ("sim.sim", ("task", "seconds", "workers", "profile")),
    "data": ("data.data", ("task", "demonstrations", "seconds", "workers")),
    "evaluate": ("sim.evaluate", ("task", "episodes", "workers", "rounds")),
    "serve": ("serve.serve", ("clients", "hz", "minutes", "threads")),
    "control": ("control.control", ()),
    "d2f": (
        "d2f.d2f",
        (
            "model",
            "text_tasks",
            "modes",
            "problems",
            "torch_threads",
            "chain_prompts",
            "sweep",
            "picture",
            "adapters",
            "blocks",
        ),
    ),
    "ablation": (
        "d2f.ablation",
        ("model", "students", "steps", "batch", "text_tasks", "problems", "blocks", "torch_threads"),
    ),
    "engine": ("d2f.engine", ("model", "modes", "answers", "rounds", "tokens", "torch_threads", "weights")),
    "serve-text": ("serve.text_load", ("model", "requests", "clients", "threads", "silent")),
    "text-peers": ("serve.text_peers", ("tokens", "rounds", "torch_threads")),
    "text-mixed": ("serve.text_mixed", ("model", "requests", "clients", "long_tokens")),
    "policy": ("model.policy", ("checkpoint", "tasks", "episodes", "env", "ablations", "workers")),
    "model": ("model.model", ("checkpoint", "task", "repeats", "torch_threads", "backend")),
    "decision": ("model.decision", ("checkpoint", "tasks", "scenes", "torch_threads")),
    "picture": ("model.picture", ("checkpoint", "tasks", "scenes", "guidance", "torch_threads")),
    "cpu": ("model.cpu", ("checkpoint", "task", "repeats", "torch_threads")),
    "kernels": ("gpu.roofline", ()),
    "ros": ("ros.ros", ("seconds", "camera_hz", "checkpoint")),
    "ros-stops": ("ros.ros_stops", ("kinds", "trials")),
    "page-stop": ("ros.page_stop", ("presses",)),
    "peers": ("peers.peers", ("peer_parts", "rounds", "seconds", "torch_threads", "python")),
    "gpu": ("gpu.gpu", ("tune", "dry", "parts")),
}
# What those that write as they go take besides.
_AS_THEY_GO: dict[str, Callable[[DictConfig, Path], list[Any]]] = {
    "gpu": lambda config, folder: [folder / "gpu.json"],
    "control": lambda config, folder: [config, folder],
    "policy": lambda config, folder: [folder],
    "ablation": lambda config, folder: [folder],
}
# One may be given bare.
_LISTS = (
    "text_tasks",
    "modes",
    "adapters",
    "blocks",
    "students",
    "backend",
    "tasks",
    "parts",
    "ablations",
    "kinds",
    "peer_parts",
)


def run(config: DictConfig) -> int:
    """Run the benchmark that ``config.what`` names."""
    if config.what not in _BENCHMARKS:
        nearest = difflib.get_close_matches(str(config.what), _BENCHMARKS, n=1, cutoff=0.0)[0]
        raise UserError(f"there is no benchmark {config.what!r}", f"did you mean `lohovla bench {nearest}`?")
    name, settings = _BENCHMARKS[config.what]
    measure: Callable[..., dict[str, Any]] = importlib.import_module(f"lohovla.benchmarks.{name}").run
    given = [_value(config, setting) for setting in settings]
    if config.what in _AS_THEY_GO:
        folder = results_folder(config, "bench")
        try:
            record = measure(*_AS_THEY_GO[config.what](config, folder), *given)
        except (UserError, ImportError):
            drop_results_folder(config, folder)
            raise
    else:
        record = measure(*given)
        folder = results_folder(config, "bench")
    (folder / "result.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    return 0


def _value(config: DictConfig, setting: str) -> Any:
    value = config[setting]
    value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return [value] if setting in _LISTS and isinstance(value, str | int) else value
