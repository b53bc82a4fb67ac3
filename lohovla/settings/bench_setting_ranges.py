"""Ranges of the settings of ``lohovla bench``; a part of :mod:`.setting_ranges`."""

from __future__ import annotations

from lohovla.settings.setting_types import SettingType, many, maybe, number, path, whole_number, word

_COUNT, _SECONDS = whole_number(1), number(0, above=True)

BENCH: dict[str, SettingType] = {
    "seconds": _SECONDS,
    "minutes": number(),
    "hz": number(),
    "clients": whole_number(),
    "demonstrations": _COUNT,
    "rounds": whole_number(),
    "repeats": _COUNT,
    "scenes": _COUNT,
    "backend": many(word()),
    "ablations": maybe(many(word())),
    "problems": _COUNT,
    "chain_prompts": whole_number(0),
    "sweep": whole_number(0),
    "adapters": many(path()),
    "blocks": many(_COUNT),
    "answers": _COUNT,
    "tokens": _COUNT,
    "requests": _COUNT,
    "delays": many(number(0)),
    "rates": many(_COUNT),
    "trials": _COUNT,
    "presses": _COUNT,
    "faults": _COUNT,
    "peer_parts": maybe(many(word())),
    **{f"python.{peer}": maybe(path()) for peer in ("lerobot", "metaworld", "openpi", "robosuite", "roslibpy")},
}
