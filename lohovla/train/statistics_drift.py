"""Fine-tuning on other data: where its statistics differ from those that a checkpoint normalises by."""

from __future__ import annotations

from lohovla.data.features import RobotFeatures

_DRIFT = 0.5  # deviations by which a mean may be off the checkpoint's before a line says so


def drift_lines(before: RobotFeatures, now: RobotFeatures) -> list[str]:
    """Where the statistics of new data are off those that a checkpoint normalises by: a line each."""
    lines = []
    for kind, names in (("state", before.state_names), ("action", before.action_names)):
        old, new = before.statistics[kind], now.statistics[kind]
        for number, name in enumerate(names):
            mean, deviation = old["mean"][number], max(old["std"][number], 1e-8)
            shift, ratio = (new["mean"][number] - mean) / deviation, new["std"][number] / deviation
            if abs(shift) > _DRIFT or not 0.5 < ratio < 2.0:
                lines.append(
                    f"{kind} {name}: mean {mean:.3g} -> {new['mean'][number]:.3g} ({shift:+.1f} deviations), deviation "
                    f"{old['std'][number]:.3g} -> {new['std'][number]:.3g}; the checkpoint's statistics are kept"
                )
    return lines
