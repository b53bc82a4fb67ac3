"""``lohovla compare``: evaluation runs side by side, each against the first."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from lohovla.settings.hydra_config import results_folder

_SHOWN = 10  # episodes in the terminal; the page has all


def run(config: DictConfig) -> int:
    """Print the comparison; write it to ``compare.md`` and ``compare.html``."""
    from lohovla.evaluate import compare_runs, episode_pairs
    from lohovla.evaluate.report.result_table import markdown

    words = [config.runs] if isinstance(config.runs, str) else list(config.runs)
    runs = compare_runs.read_runs([Path(str(word)) for word in words])
    comparisons = [(runs[0], other, compare_runs.pair(runs[0], other)) for other in runs[1:]]
    parts = []
    for first, second, pairs in comparisons:
        parts.append(f"{second.name} against {first.name}, {pairs[-1].shared} shared episodes:\n")
        parts.append(markdown(*compare_runs.pairs_table(first.name, second.name, pairs)))
    for first, second, _ in comparisons:
        pairs = episode_pairs.episode_pairs(first.rows, second.rows)
        episode_pairs.film_pairs([first.folder, second.folder], pairs, config.films)
        apart = [pair for pair in pairs if pair.solved_by.startswith("only")][:_SHOWN]
        if apart:
            parts.append(f"Episodes that only one of them solved, {len(apart)} shown:\n")
            parts.append(markdown(*episode_pairs.pairs_as_table([first.name, second.name], apart)))
    header, differing = compare_runs.differing_settings(runs)
    if differing:
        parts += ["Settings that differ:\n", markdown(header[1:], [row[1:] for row in differing])]
    text = "\n".join([*parts, compare_runs.EXPLANATION])
    folder = results_folder(config, "compare")
    (folder / "compare.md").write_text(text + "\n", encoding="utf-8")
    (folder / "compare.html").write_text(compare_runs.comparison_page(runs, comparisons), encoding="utf-8")
    print(f"{text}\n\n{folder / 'compare.html'}")
    return 0
