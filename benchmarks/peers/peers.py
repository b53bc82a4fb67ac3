"""``lohovla bench peers``: this project beside others on the same machine, in turns, one table.

Each contender is a process of its own; they work one after the other, round after round, so that what else runs on
the machine meets all alike. A ratio is the median over rounds of this project's rate over the peer's in the same round.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lohovla.benchmarks.bench_utils import Row, emit, markdown_table, median
from lohovla.benchmarks.peers.contender import Contender, ContenderFailed, ContenderProcess, Turn
from lohovla.benchmarks.peers.parts import PARTS, PartContext
from lohovla.collect.collect_dataset import CollectConfig, collect
from lohovla.errors import UserError
from lohovla.progress import progress

_EPISODES = 6  # of the demonstrations
# lerobot's Diffusion Policy reads pictures of one size only.
_WORLD = {
    "control": "ee",
    "cameras": {name: {"width": 128, "height": 96, "depth": False} for name in ("top", "wrist")},
}


def run(
    parts: Sequence[str] | None,
    rounds: int,
    seconds: float,
    threads: int | None,
    python: Mapping[str, str | None] | None,
) -> dict[str, Any]:
    """Measure; print a table and the JSON line.

    Args:
        parts: of :data:`PARTS`, or None for all.
        rounds: of each part.
        seconds: of a contender's turn.
        threads: of each contender's arithmetic and loader; one if None.
        python: interpreters of peers that are installed already, by peer.

    Raises:
        UserError: there is no such part, or a peer can neither be found nor installed.
    """
    chosen = list(PARTS) if parts is None else list(parts)
    for name in chosen:
        if name not in PARTS:
            raise UserError(f"there is no part {name!r}", f"choose of {', '.join(PARTS)}")
    if rounds < 1 or not 0.0 < seconds <= 600.0:
        raise UserError(f"rounds={rounds} seconds={seconds:g}", "rounds=3 seconds=6")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lohovla-") as folder:
        context = PartContext(Path(folder), _demonstrations(Path(folder), chosen), threads or 1, dict(python or {}))
        for name in chosen:
            found = _measure(PARTS[name].contenders(context), rounds, seconds, Path(folder), PARTS[name].by_cpu)
            rows += [{"part": name, "unit": PARTS[name].unit, **row} for row in found]
            print(f"\n{name}: {PARTS[name].about}\n\n{markdown_table(found)}", flush=True)
    ratios = [row["ratio"] for row in rows if row.get("ratio")]
    return emit(
        "peers",
        "least ratio of this project's rate over a peer's",
        min(ratios, default=float("nan")),
        "times",
        ratio=min(ratios, default=None),
        rounds=rounds,
        seconds=seconds,
        threads=threads or 1,
        table=rows,
    )


def _demonstrations(folder: Path, parts: Sequence[str]) -> Path:
    """A set of the oracle's demonstrations, where a part needs one."""
    root = folder / "demonstrations"
    if any(PARTS[name].demonstrations for name in parts):
        plan = CollectConfig(root, ("pick-and-place-primitive",), _EPISODES, 0, "oracle", _WORLD, {}, False, "local", 1)
        with progress(total=_EPISODES, unit="episode", desc="demonstrations", leave=False) as bar:
            collect(plan, bar.update)
    return root


def _measure(
    contenders: Sequence[Contender], rounds: int, seconds: float, folder: Path, by_cpu: bool = False
) -> list[Row]:
    """Rows of the contenders, in their order; one that fails has its last words in its row."""
    with ExitStack() as stack:
        running: dict[str, ContenderProcess] = {}
        failed: dict[str, str] = {}
        turns: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
        for number, contender in enumerate(contenders):
            try:
                process = ContenderProcess(contender, folder / f"{number}.log")
                running[contender.name] = stack.enter_context(process)
            except ContenderFailed as error:
                failed[contender.name] = str(error)
        for turn in progress(range(rounds + 1), desc="rounds", leave=False):
            for name, process in list(running.items()):
                try:
                    done = process.turn(seconds if turn else min(seconds, 2.0))
                except ContenderFailed as error:
                    failed[name] = str(error)
                    del running[name]
                    continue
                if turn:  # the first one warms up
                    turns[name].append(done)
        first = turns[contenders[0].name]
        return [
            _row(contender.name, turns[contender.name], first, running[contender.name].facts, by_cpu)
            if contender.name in running
            else {"who": contender.name, "failed": failed[contender.name][:120]}
            for contender in contenders
        ]


def _row(name: str, turns: Sequence[Turn], first: Sequence[Turn], facts: Mapping[str, Any], by_cpu: bool) -> Row:
    rates, own = (
        [turn.count / max(turn.cpu if by_cpu else turn.seconds, 1e-9) for turn in some] for some in (turns, first)
    )
    row: Row = {
        "who": name,
        "a second": round(median([turn.count / turn.seconds for turn in turns]), 2),
        "CPU ms each": round(1000 * median([turn.cpu / max(turn.count, 1) for turn in turns]), 3),
        "memory MB": round(max(turn.memory for turn in turns)),
        **facts,
    }
    if turns is not first and len(own) == len(rates):
        row["ratio"] = round(median([a / b if b else float("inf") for a, b in zip(own, rates, strict=True)]), 2)
    return row
