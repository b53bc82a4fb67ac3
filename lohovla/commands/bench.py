"""``lohovla bench``: measure, and print one JSON object as the last line."""

from __future__ import annotations

import difflib
import json

from omegaconf import DictConfig

from lohovla.errors import UserError
from lohovla.settings import results_folder

_BENCHMARKS = ("sim", "data", "evaluate", "serve", "control", "d2f", "model", "gpu", "engine", "serve-text")


def run(config: DictConfig) -> int:
    """Run the benchmark that ``config.what`` names."""
    if config.what not in _BENCHMARKS:
        nearest = difflib.get_close_matches(str(config.what), _BENCHMARKS, n=1, cutoff=0.0)[0]
        raise UserError(f"there is no benchmark {config.what!r}", f"did you mean `lohovla bench {nearest}`?")
    if config.what == "sim":
        from lohovla.benchmarks import sim

        record = sim.run(config.task, config.seconds, config.workers, config.profile)
    elif config.what == "data":
        from lohovla.benchmarks import data

        record = data.run(config.task, config.demonstrations, config.seconds, config.workers)
    elif config.what == "d2f":
        from lohovla.benchmarks import d2f

        record = d2f.run(
            config.model, list(config.text_tasks), list(config.modes), config.problems, config.torch_threads,
            config.chain_prompts, config.sweep, config.picture,
        )  # fmt: skip
    elif config.what == "model":
        from lohovla.benchmarks import model

        backends = [config.backend] if isinstance(config.backend, str) else list(config.backend)
        record = model.run(config.checkpoint, config.task, config.repeats, config.torch_threads, backends)
    elif config.what == "engine":
        from lohovla.benchmarks import engine

        record = engine.run(
            config.model, list(config.modes), config.answers, config.rounds, config.tokens, config.torch_threads,
            config.weights,
        )  # fmt: skip
    elif config.what == "serve-text":
        from lohovla.benchmarks import text_load

        record = text_load.run(config.model, config.requests, config.clients, config.threads)
    elif config.what == "gpu":
        from lohovla.benchmarks import gpu

        record = gpu.run(config.tune)
    elif config.what == "serve":
        from lohovla.benchmarks import serve

        record = serve.run(config.clients, config.hz, config.minutes, config.threads)
    elif config.what == "control":
        from lohovla.benchmarks import control

        folder = results_folder(config, "bench")
        record = control.run(config, folder)
        (folder / "result.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
        return 0
    else:
        from lohovla.benchmarks import evaluate

        record = evaluate.run(config.task, config.episodes, config.workers, config.rounds)
    folder = results_folder(config, "bench")
    (folder / "result.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    return 0
