"""The same instruction in other words: what is named, and how, stays; everything around it changes."""

from __future__ import annotations

import re

import numpy as np

_INSTRUCTION = re.compile(r"put (?P<what>the .+) (?P<where>in|on) (?P<place>the .+)")

_FORMS: dict[int, tuple[str, ...]] = {
    1: (
        "place {what} {where} {place}",
        "set {what} {where} {place}",
        "put {what} {where}to {place}",
        "please put {what} {where} {place}",
    ),
    2: (
        "pick up {what} and lay it down {where} {place}",
        "move {what} so that it ends up {where} {place}",
        "{what} belongs {where} {place}, so take it there",
        "grab {what}, carry it over and release it {where} {place}",
        "{where} {place} is where {what} should go",
    ),
    3: (
        "hello robot, I hope you are well today; whenever you are ready, could you please take {what} and place it "
        "{where} {place}? there is no hurry at all, thank you",
        "guests are coming tonight and we still have to tidy up, so it would be a great help if {what} could be moved "
        "{where}to {place}; please be careful, and touch nothing else",
        "I know that there is a lot to look at, but for now please just find {what}, lift it without pushing anything "
        "over, and then set it down {where} {place}; that would be all, thanks a lot",
        "if you have a moment, would you be so kind as to do something for me before lunch? {what} is still where it "
        "should not be, and I would like to have it {where} {place}",
    ),
}


def reword(instruction: str, rng: np.random.Generator, level: int) -> str:
    """Say an instruction in other words, its phrases for the thing and the place as they were.

    Args:
        instruction: of the form "put the … in|on the …".
        rng: chooses the form.
        level: 1 changes a word or two, 2 verbs and the form of the sentence, 3 adds polite context that asks for
            nothing else.

    Raises:
        ValueError: the instruction has another form.
    """
    parts = _INSTRUCTION.fullmatch(instruction)
    if parts is None:
        raise ValueError(f"instruction '{instruction}': expected 'put the … in|on the …'; teach rewording.py its form")
    return str(rng.choice(_FORMS[level])).format(**parts.groupdict())
