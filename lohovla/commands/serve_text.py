"""``lohovla serve text``: OpenAI's completions and chat, until a signal comes."""

from __future__ import annotations

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

    keys = check_key(config)
    limits = _check(config)
    text, name = _model(config)
    settings = TextServerSettings(config.host, config.port, config.body_mb, config.drain)
    server = TextServer(TextService(text, name, limits), settings, keys, (config.tls.cert, config.tls.key))
    await server.start()
    server.drain.on_signals()
    place = f"{'https' if config.tls.cert else 'http'}://{config.host}:{server.port}"
    print(f"serving {name} at {place}/v1; {place}/ shows it at work", flush=True)
    whole = await server.run()
    print("served to the end" if whole else "ended; the model was still busy", flush=True)
    return 0 if whole else 1


def _model(config: DictConfig) -> tuple[Any, str]:
    """The text model, and its name."""
    import torch

    from lohovla.d2f.text import TextModel

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    text = TextModel.load(config.model, config.adapter, dtype=config.dtype, device=config.device)
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
