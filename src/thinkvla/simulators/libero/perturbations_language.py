"""LIBERO's instructions in other words: what is named, and how, stays; everything around it changes.

Level 1 changes a word or two, level 2 the form of the sentence, level 3 wraps the request in talk that asks for nothing
else. All forms that the instructions of the four suites have are known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from thinkvla.perturbation import Perturbation


@dataclass(frozen=True)
class _Form:
    """Instructions of one form.

    Attributes:
        pattern: matches the whole instruction; its groups are the phrases that stay.
        requests: the same in other verbs, as imperatives.
        wishes: the same in another form of sentence.
    """

    pattern: re.Pattern[str]
    requests: tuple[str, ...]
    wishes: tuple[str, ...]


_PLACED = (
    "{where} {place} is where {what} should go",
    "{what} should end up {where} {place}",
    "I would like to have {what} {where} {place}",
    "see to it that I find {what} {where} {place}",
)
_FORMS = (
    _Form(
        re.compile(r"pick up (?P<what>the .+) and place it (?P<where>in|on) (?P<place>the .+)"),
        (
            "grab {what} and put it {where} {place}",
            "take {what} and set it down {where} {place}",
            "lift {what} and lay it {where} {place}",
        ),
        _PLACED,
    ),
    _Form(
        re.compile(
            r"put (?P<what>the .+?) on (?P<place>the .+?) and put (?P<thing>the .+?) (?P<way>on|to) (?P<other>the .+)"
        ),
        (
            "place {what} on {place} and place {thing} {way} {other}",
            "set {what} on {place}, then set {thing} {way} {other}",
            "take {what} and lay it on {place}, and move {thing} {way} {other}",
        ),
        (
            "on {place} is where {what} should go, and {way} {other} is the place for {thing}",
            "I would like to have {what} on {place}, and {thing} {way} {other}",
            "see to it that I find {what} on {place}, and {thing} {way} {other}",
        ),
    ),
    _Form(
        re.compile(r"put (?P<what>the .+) in (?P<place>the .+) and close it"),
        (
            "place {what} in {place} and shut it",
            "set {what} in {place}, then close it",
            "lay {what} in {place} and shut it again",
        ),
        (
            "in {place} is where {what} should go, and it should be closed in the end",
            "{what} should end up in {place}, with {place} closed",
            "I would like to have {what} in {place}, which should be closed afterwards",
        ),
    ),
    _Form(
        re.compile(r"put (?P<what>(?:the|both) .+?) (?P<where>on top of|on|in) (?P<place>the .+)"),
        (
            "place {what} {where} {place}",
            "set {what} down {where} {place}",
            "lay {what} {where} {place}",
        ),
        _PLACED,
    ),
    _Form(
        re.compile(r"turn on (?P<what>the .+) and put (?P<thing>the .+) on it"),
        (
            "switch on {what} and place {thing} on it",
            "turn {what} on, then set {thing} on it",
            "start {what} and lay {thing} on it",
        ),
        (
            "{what} should be on, with {thing} standing on it",
            "I would like to have {what} on and {thing} on top of it",
            "see to it that {what} is on and that {thing} stands on it",
        ),
    ),
    _Form(
        re.compile(r"turn on (?P<what>the .+)"),
        ("switch on {what}", "turn {what} on", "start {what}"),
        (
            "{what} should be on",
            "I would like to have {what} switched on",
            "see to it that {what} is on",
        ),
    ),
    _Form(
        re.compile(r"open (?P<what>the .+) and put (?P<thing>the .+) inside"),
        (
            "pull {what} open and place {thing} inside",
            "slide {what} open, then set {thing} inside",
            "pull out {what} and lay {thing} in it",
        ),
        (
            "{thing} should end up in {what}, which is still closed",
            "I would like to have {thing} in {what}, so it has to be opened first",
            "inside {what} is where {thing} should go, once it is open",
        ),
    ),
    _Form(
        re.compile(r"open (?P<what>the .+)"),
        ("pull {what} open", "slide {what} open", "pull out {what}"),
        (
            "{what} should be open",
            "I would like to have {what} pulled out",
            "see to it that {what} stands open",
        ),
    ),
    _Form(
        re.compile(r"push (?P<what>the .+) to (?P<place>the .+)"),
        ("slide {what} to {place}", "shove {what} over to {place}", "move {what} to {place} by pushing"),
        (
            "{what} should end up at {place}",
            "{place} is where {what} should be pushed",
            "see to it that {what} is pushed to {place}",
        ),
    ),
)
_TALK = (
    "hello robot, I hope that you are well today; whenever you are ready, could you {request}? there is no hurry at "
    "all, thank you very much",
    "guests are coming tonight and there is still a lot to tidy up, so it would be a great help if you could "
    "{request}, without touching anything else",
    "sorry, I was listening to the news just now; never mind the rest of the room, all that I need from you before "
    "lunch is that you {request}, and then we are done for today",
    "everything is lying about again, as it always does on a Friday, so here is what I ask of you, slowly and "
    "carefully: {request}; after that you may rest for as long as you like",
)


def told(perturbation: Perturbation, task: str, instruction: str, seed: int, layout: int) -> str:
    """What the robot is asked to do in a task's episode: the plain instruction, except along the axis ``language``.

    Args:
        perturbation: axis and level.
        task: name of the task.
        instruction: its plain instruction.
        seed: from which draws follow.
        layout: number of the layout from which the episode begins.

    Raises:
        ValueError: the instruction has a form that is not known here.
    """
    if perturbation.axis != "language":
        return instruction
    return reword(instruction, perturbation.draws(task, seed, layout), perturbation.level)


def reword(instruction: str, rng: np.random.Generator, level: int) -> str:
    """Say an instruction in other words, its phrases for things and places as they were.

    Args:
        instruction: of one of the four suites.
        rng: chooses the words.
        level: 1, 2 or 3, as the module says.

    Raises:
        ValueError: the instruction has a form that is not known here.
    """
    for form in _FORMS:
        if (parts := form.pattern.fullmatch(instruction)) is not None:
            break
    else:
        raise ValueError(f"instruction '{instruction}' has no form that perturbations_language.py knows; add it there")
    phrases = parts.groupdict()
    if level == 2:
        return str(rng.choice(form.wishes)).format(**phrases)
    request = str(rng.choice(form.requests)).format(**phrases)
    if level == 1:
        return f"please {request}" if rng.random() < 0.5 else request
    return str(rng.choice(_TALK)).format(request=request)
