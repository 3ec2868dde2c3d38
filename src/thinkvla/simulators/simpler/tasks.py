"""The four tasks, and the step limits under which others report them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

SUITE = "simpler_widowx"
LAYOUTS = 24
"""Arrangements of each task's objects, numbered by episode."""
CONTROL_HZ = 5.0
MAX_STEPS = 120
"""Default step limit of every task."""
LIMITS = (
    "starVLA and DB-CogACT 120 in every task; SimplerEnv's own scripts 60, and 120 for the eggplant; the videos of "
    "3DThinkVLA show 200"
)
"""Step limits of other projects, for reports: a success rate means little without its limit."""


@dataclass(frozen=True)
class Task:
    """One task of SimplerEnv's WidowX set-up.

    Attributes:
        name: short, as results show it.
        environment: ManiSkill3's name of it.
        original: SimplerEnv's name of it, on SAPIEN 2.
        instruction: what the policy is asked.
    """

    name: str
    environment: str
    original: str
    instruction: str


TASKS = {
    task.name: task
    for task in (
        Task("carrot", "PutCarrotOnPlateInScene-v1", "widowx_carrot_on_plate", "put carrot on plate"),
        Task(
            "eggplant",
            "PutEggplantInBasketScene-v1",
            "widowx_put_eggplant_in_basket",
            "put eggplant into yellow basket",
        ),
        Task("spoon", "PutSpoonOnTableClothInScene-v1", "widowx_spoon_on_towel", "put the spoon on the towel"),
        Task(
            "stack",
            "StackGreenCubeOnYellowCubeBakedTexInScene-v1",
            "widowx_stack_cube",
            "stack the green block on the yellow block",
        ),
    )
}


def choose_tasks(names: Sequence[str] = ()) -> tuple[Task, ...]:
    """Tasks by name, all for none; raises ValueError for one that there is not."""
    for name in names:
        if name not in TASKS:
            near = difflib.get_close_matches(name, TASKS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {list(TASKS)}"
            raise ValueError(f"SimplerEnv has no task '{name}'; {hint}")
    return tuple(TASKS[name] for name in names or TASKS)
