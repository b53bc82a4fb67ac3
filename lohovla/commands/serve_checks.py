"""What `lohovla serve` checks before it loads a model: numbers, API keys and TLS."""

from __future__ import annotations

import ssl
from typing import Any

from omegaconf import DictConfig

from lohovla.errors import UserError


def check_server(
    config: DictConfig, least: dict[str, int], above: tuple[str, ...]
) -> tuple[Any, ssl.SSLContext | None]:
    """What every server asks before its model is loaded: its keys, and its TLS.

    Args:
        config: of the command.
        least: the lowest values of further settings; None is fine too.
        above: settings that must be above 0; None is fine too.

    Raises:
        UserError: a setting cannot be, the certificate cannot be read, or other machines could come in without a key.
    """
    from lohovla.serve.api_keys import VARIABLE, ApiKeys, read_keys
    from lohovla.serve.sockets import certificate, is_loopback

    for name, lowest in {"port": 0, "threads": 1, "drain": 0, **least}.items():
        value = config[name]
        if value is not None and value < lowest:
            raise UserError(f"{name} cannot be {value}", f"it is at least {lowest}")
    for name in above:
        if config[name] is not None and not config[name] > 0:
            raise UserError(
                f"{name} must be above 0, not {config[name]}",
                f"`lohovla serve {config.what} --help` lists the defaults",
            )
    if config.port > 65535:
        raise UserError(f"port cannot be {config.port}", "it is at most 65535")
    keys = ApiKeys(read_keys(config.api_keys))
    if not keys and not config.anonymous and not is_loopback(config.host):
        raise UserError(
            f"host={config.host} lets other machines in, and there is no API key",
            f"set {VARIABLE} or api_keys=FILE; anonymous=true serves everybody",
        )
    return keys, certificate(config.tls.cert, config.tls.key)
