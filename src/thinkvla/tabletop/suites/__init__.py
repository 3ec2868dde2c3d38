"""The task suites by name. To add one, write a module with a ``TASKS`` tuple and list it here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from thinkvla.tabletop.suites import height, pedestal, spatial, transparent
from thinkvla.tabletop.suites import object as _object
from thinkvla.tabletop.tasks import Task

SUITES: dict[str, tuple[Task, ...]] = {
    "object": _object.TASKS,
    "spatial": spatial.TASKS,
    "height": height.TASKS,
    "height_heldout": height.HELD_OUT_TASKS,
    "transparent": transparent.TASKS,
    "pedestal": pedestal.TASKS,
}
EVALUATION_ONLY = ("height_heldout",)
"""Suites that no demonstration is made of: they ask how a policy does outside what it was trained on."""


def suite(name: str) -> tuple[Task, ...]:
    """The tasks of a suite; raises ValueError with the nearest name for an unknown one."""
    if name not in SUITES:
        near = difflib.get_close_matches(name, SUITES, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(f"unknown suite '{name}': {hint}expected one of {sorted(SUITES)}")
    return SUITES[name]


def choose_tasks(suite_name: str, names: Sequence[str]) -> tuple[Task, ...]:
    """The named tasks of a suite, all when none is named; raises ValueError listing the tasks for an unknown name."""
    tasks = {task.name: task for task in suite(suite_name)}
    unknown = [name for name in names if name not in tasks]
    if unknown:
        raise ValueError(f"suite '{suite_name}' has no task {unknown}; its tasks are {sorted(tasks)}")
    return tuple(tasks[name] for name in names or tasks)
