"""``lohovla tasks``: list the tasks, and write their page with a picture of each."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lohovla.envs.tasks.names import COMPOSED, TASKS, gym_name
from lohovla.envs.tasks.registry import Split, Task, get_task
from lohovla.errors import UserError
from lohovla.extensions import installed
from lohovla.progress import progress

_GOALS = "## Goals as data\n"
_SPLITS = {
    Split.PRIMITIVE: "Primitives",
    Split.SEEN: "Long-horizon tasks seen in training",
    Split.UNSEEN: "Long-horizon tasks never trained on",
    Split.ADDITIONAL: "Additional training tasks",
}


def run(config: DictConfig) -> int:
    """Print the list; with ``pictures`` also write ``tasks.md`` and its pictures into ``config.docs``."""
    folder = Path(config.docs)
    if config.pictures and not folder.is_dir():
        raise UserError(f"there is no folder {folder}", "name the folder that is to hold tasks.md with docs=FOLDER")
    tasks = [get_task(name) for name in TASKS]
    others = [get_task(name) for name in installed("task")]
    for split, title in _SPLITS.items():
        print(title)
        for task in tasks:
            if task.split is split:
                print(f"  {task.letter or ' '}  {task.name:76s} {task.wordings[0]}")
    print("Goals of the grammar")
    for task in map(get_task, COMPOSED):
        print(f"     {task.name:76s} {(inspect.getdoc(type(task)) or '').splitlines()[0]}")
    if others:
        print("Tasks of other packages")
    for task in others:
        print(f"     {task.name:76s} {task.wordings[0]}")
    if config.pictures:
        _write_page(folder, tasks, config.seed)
        print(f"wrote {folder / 'tasks.md'}")
    return 0


def _write_page(folder: Path, tasks: list[Task], seed: int) -> None:
    pictures = folder / "images" / "tasks"
    pictures.mkdir(parents=True, exist_ok=True)
    sections: dict[Split, list[str]] = {split: [] for split in _SPLITS}
    for task in progress(tasks, desc="drawing", leave=False):
        sections[task.split].append(_describe(task, pictures, seed))
    page = [_INTRODUCTION]
    for split, title in _SPLITS.items():
        page += [f"## {title}\n", *sections[split]]
    (folder / "tasks.md").write_text("\n".join(page) + _by_hand(folder / "tasks.md"), encoding="utf-8")


def _by_hand(path: Path) -> str:
    """What follows the tasks in a page that is there already: it was written by hand, and is kept."""
    before, found, rest = path.read_text(encoding="utf-8").partition(_GOALS) if path.is_file() else ("", "", "")
    return f"\n{found}{rest}" if before else ""


def _describe(task: Task, pictures: Path, seed: int) -> str:
    """One task's section, and its picture: an initial state and the oracle's plan for it."""
    from lohovla.envs.env import BlocksEnv
    from lohovla.evaluate.episode_runner import run_episode
    from lohovla.evaluate.report.video import save_jpeg
    from lohovla.policies.registry import make_policy

    env = BlocksEnv(task=task.name, control="pick_place", cameras={})
    env.reset(seed=seed)
    save_jpeg(env.picture("film"), pictures / f"{task.name}.jpg")
    result: Any = run_episode(env, make_policy("oracle", env), seed)
    plan = "\n".join(f"{i}. {span.text}" for i, span in enumerate(result.subtasks, 1))
    others = "; ".join(f"“{line}”" for line in task.wordings[1:])
    letter = f" ({task.letter})" if task.letter else ""
    return f"""### {task.name}{letter}

![{task.name}](images/tasks/{task.name}.jpg)

**{task.wordings[0]}** {inspect.getdoc(type(task))}

- `gymnasium.make("lohovla/{gym_name(task.name)}")`; {env.problem.max_steps} actions allowed in the state shown
- in the picture: “{result.instruction}”
- other words for it (`paraphrase=true`): {others}

{plan}
"""


_INTRODUCTION = """# Tasks

The block world's 24 tasks: the goal of each, an initial state and the oracle's plan for it, and how goals are scored.
The page is written by `lohovla tasks pictures=true`; each picture is the initial state of seed 10001. Goal sentences,
sub-task sentences, colours and sizes are data, in `envs/language.yaml`; what each goal means is data too
([below](#goals-as-data)), and so are goals that no published task asks for.

The tasks are those of LoHoRavens and LoHoSet (see [references](references.md)), rebuilt here from their description on
MuJoCo. Top is the robot's side of the table (smaller x), left is negative y, as in the picture from above.

## How a state is scored

The score is a function of the present state, in [0, 1]; the reward of an action is the change of the score, and an
episode is a success when its last state scores above 0.99. What is held counts nowhere.

- **in a bowl**: the block's centre is within 5 cm of the bowl's axis, and low enough to be in it, not on another block.
  With *mismatching* colours any bowl of another colour is right, and a bowl counts one block.
- **in a zone**: the block's whole footprint is inside the square. With *mismatching* colours a zone counts one block.
- **in an area**: the block's centre is in the quadrant, or in the square of 8 cm in the centre.
- **on a block**: within 1 cm of its middle (5 cm in the primitives) and at the right height, to 8 mm. A tower counts
  from its foot up, as far as it is right; what stands right is each move's share of the score.
- **beside a block**: within 5 cm of the point 16 cm to that side.

The number of actions allowed is the number of moves needed and a few to spare: 2, or 2 a layer where blocks are hidden,
3 for pairs on zones and alternate colours, 7 for moves between areas. With `control=ee` it is that number times
`seconds_per_action` (8) of simulated time.

## What differs from the published code

Stack targets have true heights; several zones can reach a full score; a tower that topples is taken back; the rule of
mismatching colours is as above, for every bowl; time is simulated time; one seed decides everything; actions after the
end are refused and a truncation says its reason; the drop probability is that of losing a held block within a second;
camera noise works; bowls are fixed and cannot be gripped. Blocks that distract never have the colour of a hidden block,
so that a sub-task has one meaning. Towers stand where one of their blocks stands, unless the goal names a zone or an
area, and in any order unless the goal gives one. Blocks share a large zone by
quarters, which leaves each the most room.
"""
