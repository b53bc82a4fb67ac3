"""``lohovla serve policy`` and ``lohovla serve text``: serve until a signal comes."""

from __future__ import annotations

import asyncio
import difflib
import ipaddress
import logging
import ssl
import sys
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lohovla.errors import SetupError, UserError

_SERVERS = ("policy", "text")


def run(config: DictConfig) -> int:
    """Serve what ``config.what`` names; returns when the drain after SIGTERM or Ctrl-C is over."""
    if config.what not in _SERVERS:
        nearest = difflib.get_close_matches(str(config.what), _SERVERS, n=1, cutoff=0.0)[0]
        raise UserError(f"there is no server {config.what!r}", f"did you mean `lohovla serve {nearest}`?")
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    if config.what == "text":
        from lohovla.commands.serve_text import serve_text

        return asyncio.run(serve_text(config))
    try:
        import msgpack  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise SetupError(f"a server needs {error.name}", "pip install 'lohovla[serve]'") from None
    return asyncio.run(_serve_policy(config))


async def _serve_policy(config: DictConfig) -> int:
    from lohovla.serve.policy_server import PolicyServer, ServerSettings

    keys, tls = check_key(config), _tls(config.tls.cert, config.tls.key)
    _check(config)
    policy, expected, about = _policy(config)
    settings = ServerSettings(
        config.host, config.port, config.sessions, config.max_batch, round(config.max_frame_mb * 2**20),
        config.deadline, config.drain, config.keepalive,
    )  # fmt: skip
    server = PolicyServer(policy, expected, about, settings, keys, tls)
    await server.warm_up()
    await server.start()
    server.drain.on_signals()
    scheme = "wss" if config.tls.cert else "ws"
    place = f"{config.host}:{server.port}"
    print(
        f"serving {about['policy']} at {scheme}://{place}; {scheme.replace('ws', 'http')}://{place}/healthz", flush=True
    )
    whole = await server.run()
    print("served to the end" if whole else "ended; the policy was still busy", flush=True)
    return 0 if whole else 1


def _policy(config: DictConfig) -> tuple[Any, Any, dict[str, Any]]:
    """The policy, what it reads, and what clients are told about both."""
    from lohovla.envs.env import BlocksEnv
    from lohovla.policies.registry import make_policy, split_settings
    from lohovla.serve.requests import Expected

    env_settings: Any = OmegaConf.to_container(config.env)
    chosen: Any = OmegaConf.to_container(config.policy)
    env: Any = BlocksEnv(**env_settings)
    name, policy_settings = split_settings(chosen)
    if config.checkpoint is not None and "checkpoint" not in policy_settings:
        raise UserError(f"policy {name} has no checkpoint", "checkpoint=... is for policy=lohovla")
    if config.threads is not None:
        import torch

        torch.set_num_threads(config.threads)
    policy = make_policy(name, env, **policy_settings)
    if policy.needs_world:
        raise UserError(f"policy {name} reads the simulation itself", "serve one that only needs observations")
    about = {key: value for key, value in env.describe().items() if key != "task"}
    return policy, Expected(policy.spec.observation_keys, env.observation_space.spaces), {"policy": name, "env": about}


def check_key(config: DictConfig) -> Any:
    """The keys that are asked for; a UserError where other machines could come in without one."""
    from lohovla.serve.keys import VARIABLE, ApiKeys, read_keys

    keys = ApiKeys(read_keys(config.api_keys))
    if not keys and not config.anonymous and not _is_loopback(config.host):
        raise UserError(
            f"host={config.host} lets other machines in, and there is no API key",
            f"set {VARIABLE} or api_keys=FILE; anonymous=true serves everybody",
        )
    return keys


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(config: DictConfig) -> None:
    for name, lowest in (("sessions", 1), ("max_batch", 1), ("port", 0), ("threads", 1)):
        value = config[name]
        if value is not None and value < lowest:
            raise UserError(f"{name} cannot be {value}", f"it is at least {lowest}")
    for name in ("max_frame_mb", "deadline", "keepalive"):
        if not config[name] > 0:
            raise UserError(f"{name} must be above 0, not {config[name]}", "`lohovla serve --help` lists the defaults")
    if config.port > 65535 or config.drain < 0:
        name = "drain" if config.drain < 0 else "port"
        raise UserError(f"{name} cannot be {config[name]}", "`lohovla serve --help` lists the defaults")


def _tls(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None:
        raise UserError("tls.key is given without tls.cert", "give both files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"cannot read the TLS certificate: {error}", "tls.cert and tls.key are PEM files") from None
    return context
