"""How much memory a KV cache gets where nobody says: a share of what is free, and no more than can be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lohovla.d2f.denoiser import DecoderDenoiser
from lohovla.d2f.engine.engine_settings import EngineSettings
from lohovla.d2f.engine.model_runner import token_bytes

# On a CPU other processes and the logits need memory too; a GPU has nothing else to do.
_SHARES = {"cpu": 0.25, "cuda": 0.8}
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def default_cache_mb(denoisers: Sequence[DecoderDenoiser], settings: EngineSettings, free: int | None = None) -> float:
    """Memory for the cache of each of several engines, MB.

    Args:
        denoisers: of the engines, loaded already.
        settings: of each.
        free: bytes; what is free now if None.
    """
    device = denoisers[0].device
    if free is None:
        free = free_bytes(device)
    share = _SHARES.get(device.type, 0.25) * free / len(denoisers)
    config: Any = denoisers[0].decoder.config
    longest = settings.max_model_len or getattr(config, "max_position_embeddings", None) or 4096
    each = max(token_bytes(denoiser) for denoiser in denoisers)
    usable = each * settings.max_num_seqs * (longest + settings.block_size)
    least = each * settings.block_size
    return max(least, min(share, usable)) / 2**20


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device, within the limits of the container that this process runs in."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(value for value in (_available(), _left_in_container(), 2**40) if value is not None)


def _available() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _left_in_container() -> int | None:
    """Of the container's limit what is not used; pages of files count as free."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        files = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used + int(files.get("file", 0)))
