"""``lohovla compare``: evaluation runs side by side, each against the first."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from lohovla.settings import results_folder


def run(config: DictConfig) -> int:
    """Print the comparison; write it to ``compare.md`` and ``compare.html``."""
    from lohovla.evaluate import compare
    from lohovla.evaluate.table import markdown

    words = [config.runs] if isinstance(config.runs, str) else list(config.runs)
    runs = compare.read_runs([Path(str(word)) for word in words])
    comparisons = [(runs[0], other, compare.pair(runs[0], other)) for other in runs[1:]]
    parts = []
    for first, second, pairs in comparisons:
        parts.append(f"{second.name} against {first.name}, {pairs[-1].shared} shared episodes:\n")
        parts.append(markdown(*compare.pairs_table(first.name, second.name, pairs)))
    header, differing = compare.differing_settings(runs)
    if differing:
        parts += ["Settings that differ:\n", markdown(header[1:], [row[1:] for row in differing])]
    text = "\n".join([*parts, compare.EXPLANATION])
    folder = results_folder(config, "compare")
    (folder / "compare.md").write_text(text + "\n", encoding="utf-8")
    (folder / "compare.html").write_text(compare.comparison_page(runs, comparisons), encoding="utf-8")
    print(f"{text}\n\n{folder / 'compare.html'}")
    return 0
