"""The task suites by name. To add one, write a module with a ``TASKS`` tuple and list it here."""

from __future__ import annotations

import difflib

from thinkvla.tabletop.suites import object as _object
from thinkvla.tabletop.tasks import Task

SUITES: dict[str, tuple[Task, ...]] = {"object": _object.TASKS}


def suite(name: str) -> tuple[Task, ...]:
    """The tasks of a suite; raises ValueError with the nearest name for an unknown one."""
    if name not in SUITES:
        near = difflib.get_close_matches(name, SUITES, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(f"unknown suite '{name}': {hint}expected one of {sorted(SUITES)}")
    return SUITES[name]
