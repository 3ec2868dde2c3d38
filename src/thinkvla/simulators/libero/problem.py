"""What a LIBERO problem file (BDDL) says, read without LIBERO, and the same problem with more things in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKSPACES = ("table", "floor", "kitchen_table", "living_room_table", "study_table", "coffee_table")
"""Categories of the fixture that things stand on."""
FAR = 10.0
"""Metres from the origin at which added things are put at first: whoever adds them moves them."""

Rectangle = tuple[float, float, float, float]
"""Lowest x and y, highest x and y, in metres."""


@dataclass(frozen=True)
class Problem:
    """A problem file.

    Attributes:
        text: the file as it stands.
        workspace: name of the table or floor.
        fixtures: names of what is built in on it.
        objects: movable things, name → category, in the file's order.
        regions: parts of the workspace, full name → rectangle in its own coordinates.
        init: relations at the start, e.g. ("On", "plate_1", "main_table_plate_region").
        goal: relations at the end.
    """

    text: str
    workspace: str
    fixtures: tuple[str, ...]
    objects: Mapping[str, str]
    regions: Mapping[str, Rectangle]
    init: tuple[tuple[str, ...], ...]
    goal: tuple[tuple[str, ...], ...]

    def supports(self) -> dict[str, str]:
        """What each movable thing stands on or in at the start: another thing, the workspace, or "" for a fixture."""
        return {relation[1]: self._support(relation[-1]) for relation in self.init if relation[1] in self.objects}

    def _support(self, place: str) -> str:
        if place in self.regions:
            return self.workspace
        longest = sorted(self.objects, key=len, reverse=True)
        return next((name for name in longest if place == name or place.startswith(f"{name}_")), "")

    def add(self, categories: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """The problem's text with one more thing of each category, far away on the workspace, and their names.

        They come last in every section, so that what LIBERO draws for the rest stays the same.

        Raises:
            ValueError: a category is in the problem already, or twice in the list.
        """
        if double := sorted(
            {*self.objects.values()} & {*categories} | {c for c in categories if categories.count(c) > 1}
        ):
            raise ValueError(f"categories {double} would be in the problem twice; add others")
        names = tuple(f"{category}_1" for category in categories)
        regions = (
            f"(added_region_{number} (:target {self.workspace}) (:ranges (({FAR} {number} {FAR + 0.01} {number}.01))))"
            for number in range(len(names))
        )
        things = (f"{name} - {category}" for name, category in zip(names, categories, strict=True))
        places = (f"(On {name} {self.workspace}_added_region_{number})" for number, name in enumerate(names))
        text = self.text
        for section, lines in ((":regions", regions), (":objects", things), (":init", places)):
            text = _append(text, section, "\n    ".join(lines))
        return text, names


def read_problem(file: Path) -> Problem:
    """Read a problem file.

    Raises:
        ValueError: something is missing or not as in LIBERO's files; names the file.
    """
    text = file.read_text("utf-8")
    sections = {part[0]: part[1:] for part in _expressions(text)[0] if isinstance(part, list) and part}
    missing = [name for name in (":regions", ":fixtures", ":objects", ":init", ":goal") if name not in sections]
    if missing:
        raise ValueError(f"{file}: sections {missing} are missing; give a problem file of LIBERO")
    fixtures = _named(sections[":fixtures"])
    workspaces = [name for name, category in fixtures.items() if category in WORKSPACES]
    if len(workspaces) != 1:
        raise ValueError(f"{file}: fixtures {sorted(fixtures)} hold {len(workspaces)} tables or floors; expected one")
    regions = {}
    for name, *entries in sections[":regions"]:
        values = {entry[0]: entry[1] for entry in entries}
        if values[":target"] == workspaces[0] and ":ranges" in values:
            x_low, y_low, x_high, y_high = map(float, values[":ranges"][0])
            regions[f"{workspaces[0]}_{name}"] = (x_low, y_low, x_high, y_high)
    goal = sections[":goal"][0]
    return Problem(
        text,
        workspaces[0],
        tuple(name for name in fixtures if name not in workspaces),
        _named(sections[":objects"]),
        regions,
        tuple(map(tuple, sections[":init"])),
        tuple(map(tuple, goal[1:] if goal[0].lower() == "and" else [goal])),
    )


def _named(words: Sequence[str]) -> dict[str, str]:
    """``a b - kind`` → {a: kind, b: kind}."""
    found, waiting = {}, list[str]()
    rest = iter(words)
    for word in rest:
        if word == "-":
            found.update(dict.fromkeys(waiting, next(rest)))
            waiting = []
        else:
            waiting.append(word)
    return found


def _expressions(text: str) -> list[Any]:
    """Nested lists of words, as the parentheses have them."""
    stack: list[list[Any]] = [[]]
    for token in re.findall(r"[()]|[^\s()]+", re.sub(r";[^\n]*", "", text)):
        if token == "(":
            stack.append([])
        elif token == ")":
            last = stack.pop()
            stack[-1].append(last)
        else:
            stack[-1].append(token)
    return stack[0]


def _append(text: str, section: str, lines: str) -> str:
    """The text with ``lines`` before the parenthesis that closes a section."""
    start = re.search(rf"\({section}\s", text)
    assert start is not None, section
    depth = 0
    for place in range(start.start(), len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return f"{text[:place]}  {lines}\n  {text[place:]}"
    raise ValueError(f"section {section} is never closed")
