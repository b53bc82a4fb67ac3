"""``lohovla serve text``: OpenAI's completions and chat, until a signal comes."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lohovla.errors import SetupError, UserError


async def serve_text(config: DictConfig) -> int:
    """Serve; returns when the drain after SIGTERM or Ctrl-C is over."""
    try:
        from lohovla.serve.text.server import TextServer, TextServerSettings
        from lohovla.serve.text.service import TextService
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "lohovla":
            raise
        raise SetupError(f"the text server needs {error.name}", "pip install 'lohovla[serve]'") from None
    from lohovla.commands.serve import check_key
    from lohovla.d2f.engine import parallel

    keys, limits = check_key(config), _check(config)
    rank, processes = parallel.join(config.device)
    text, name = _model(config, rank, processes)
    if rank:
        return _follow(text, limits)
    lead = {} if processes == 1 else {"runner": lambda number: partial(parallel.Leader, number=number)}
    try:
        settings = TextServerSettings(config.host, config.port, config.body_mb, config.drain)
        server = TextServer(TextService(text, name, limits, **lead), settings, keys, (config.tls.cert, config.tls.key))
        await server.start()
        server.drain.on_signals()
        place = f"{'https' if config.tls.cert else 'http'}://{config.host}:{server.port}"
        print(f"serving {name} at {place}/v1; {place}/ shows it at work", flush=True)
        whole = await server.run()
    finally:
        if processes > 1:
            parallel.stop(text.student.device)
    print("served to the end" if whole else "ended; the model was still busy", flush=True)
    return 0 if whole else 1


def _follow(text: Any, limits: Any) -> int:
    """Be one of several processes that run one model; the one of rank 0 serves, and says when it is over."""
    from lohovla.d2f.engine import parallel
    from lohovla.d2f.engine.runner import Runner, pages_of

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    models = [text.student] if text.base is text.student else [text.student, text.base]
    parallel.follow([Runner(model, pages_of(model, limits), limits.page) for model in models])
    return 0


def _model(config: DictConfig, rank: int, processes: int) -> tuple[Any, str]:
    """The text model, or this process's share of it, and its name."""
    import torch

    from lohovla.d2f.engine.parallel import shard
    from lohovla.d2f.engine.weights import narrow
    from lohovla.d2f.text import TextModel

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    text = TextModel.load(config.model, config.adapter, dtype=config.dtype, device=config.device)
    if processes > 1:
        for denoiser in {id(text.base): text.base, id(text.student): text.student}.values():
            shard(denoiser, rank, processes)
    if config.weights is not None:
        narrow(text, config.weights)
    if config.block is not None:
        text.size = config.block
    name = config.name or ("lohovla-text" if config.model is None else Path(str(config.model)).resolve().name)
    return text, str(name)


def _check(config: DictConfig) -> Any:
    """The engine's limits."""
    from lohovla.d2f.engine import EngineSettings

    for key, lowest in (("port", 0), ("threads", 1), ("block", 1)):
        if config[key] is not None and config[key] < lowest:
            raise UserError(f"{key} cannot be {config[key]}", f"it is at least {lowest}")
    if config.port > 65535 or config.drain < 0:
        key = "drain" if config.drain < 0 else "port"
        raise UserError(f"{key} cannot be {config[key]}", "`lohovla serve text --help` lists the defaults")
    for key in ("body_mb", "cache_mb"):
        if not config[key] > 0:
            raise UserError(
                f"{key} must be above 0, not {config[key]}", "`lohovla serve text --help` lists the defaults"
            )
    if config.tls.key is not None and config.tls.cert is None:
        raise UserError("tls.key is given without tls.cert", "give both files")
    names = ("page", "cache_mb", "running", "waiting", "step_tokens", "share")
    return EngineSettings(size=config.block, **{name: config[name] for name in names})
