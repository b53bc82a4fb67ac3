"""``lohovla serve text``: OpenAI's completions and chat, until a signal comes."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lohovla.commands.serve_checks import check_server
from lohovla.errors import SetupError

_LIMITS = (
    "block_size",
    "cache_mb",
    "max_num_seqs",
    "max_queue",
    "max_num_batched_tokens",
    "long_prefill_tokens",
    "max_model_len",
    "step_seconds",
    "enable_prefix_caching",
)


async def serve_text(config: DictConfig) -> int:
    """Serve; returns when the drain after SIGTERM or Ctrl-C is over."""
    keys, tls = check_server(
        config,
        {"block": 1, "max_connections": 1, "max_model_len": 2},
        ("body_mb", "cache_mb", "patience", "step_seconds"),
    )
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it tells what of its own it cannot import, line by line
    try:
        from lohovla.serve.text.text_server import TextServer, TextServerSettings
        from lohovla.serve.text.text_service import TextService
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "lohovla":
            raise
        raise SetupError(f"the text server needs {error.name}", "pip install 'lohovla[serve]'") from None
    from lohovla.d2f.engine import tensor_parallel

    rank, processes = tensor_parallel.init_processes(config.device)
    text, name = _model(config, rank, processes)
    limits = _limits(config, text, processes)
    if rank:
        return _follow(text, limits)
    lead = (
        {}
        if processes == 1
        else {"runner": lambda number: partial(tensor_parallel.TensorParallelDriver, number=number)}
    )
    try:
        settings = TextServerSettings(
            config.host,
            config.port,
            config.body_mb,
            config.drain,
            config.max_connections,
            config.patience,
            config.access_log,
        )
        server = TextServer(TextService(text, name, limits, **lead), settings, keys, tls)
        await server.start()
        server.drain.on_signals()
        place = f"{'https' if config.tls.cert else 'http'}://{config.host}:{server.port}"
        room = server.service.student.pool.count * limits.block_size
        print(f"serving {name} at {place}/v1; {place}/ shows it at work", flush=True)
        print(f"KV cache: {limits.cache_mb:.0f} MB, {room} tokens (cache_mb=...)", flush=True)
        whole = await server.run()
    finally:
        if processes > 1:
            tensor_parallel.stop_workers(text.student.device)
    print("served to the end" if whole else "ended; the model was still busy", flush=True)
    return 0 if whole else 1


def _follow(text: Any, limits: Any) -> int:
    """Be one of several processes that run one model; the one of rank 0 serves, and says when it is over."""
    from lohovla.d2f.engine import tensor_parallel
    from lohovla.d2f.engine.model_runner import ModelRunner, pages_of

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    tensor_parallel.worker_loop(
        [ModelRunner(model, pages_of(model, limits), limits.block_size) for model in text.denoisers]
    )
    return 0


def _limits(config: DictConfig, text: Any, processes: int) -> Any:
    """The engine's settings; the cache's size is that of the process with the least memory, if nobody says."""
    from lohovla.d2f.engine import EngineSettings, tensor_parallel
    from lohovla.d2f.engine.cache_size import default_cache_mb

    given = {name: config[name] for name in _LIMITS if name != "cache_mb" or config[name] is not None}
    limits = EngineSettings(**given)
    if config.cache_mb is not None:
        return limits
    size = default_cache_mb(text.denoisers, limits)
    if processes > 1:
        size = tensor_parallel.least(size, text.student.device)
    return replace(limits, cache_mb=size)


def _model(config: DictConfig, rank: int, processes: int) -> tuple[Any, str]:
    """The text model, or this process's share of it, and its name."""
    import torch

    from lohovla.d2f.engine.tensor_parallel import shard
    from lohovla.d2f.engine.weight_quantization import quantize_linear
    from lohovla.d2f.text_model import TextModel

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    text = TextModel.load(
        config.model, config.adapter, live=config.adapter_live, dtype=config.dtype, device=config.device
    )
    if processes > 1:
        for denoiser in text.denoisers:
            shard(denoiser, rank, processes)
    if config.weights is not None:
        quantize_linear(text, config.weights)
    if config.block is not None:
        text.size = config.block
    name = config.name or ("lohovla-text" if config.model is None else Path(str(config.model)).resolve().name)
    return text, str(name)
