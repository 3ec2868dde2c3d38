"""The twelve categories of spatial questions: how each is asked, decided, explained and concluded.

Names and meaning follow 3DSRBench (arXiv 2412.07825) and SpatialReasoner (arXiv 2504.20024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from thinkvla.tabletop.questions import reasoning, rules

SIDES = ("front", "back", "left", "right")


@dataclass(frozen=True)
class Category:
    """One kind of spatial question about one to three entities, called a, b and c.

    Attributes:
        name: as in SpatialReasoner's data.
        fronts: for each entity, whether it must have a front.
        questions: templates; one is drawn.
        answers: (option, conclusion) templates, two or four.
        decide: entities → index of the right answer, or None when it is too close to call.
        explain: entities → the numbers that decide, in sentences.
    """

    name: str
    fronts: tuple[bool, ...]
    questions: tuple[str, ...]
    answers: tuple[tuple[str, str], ...]
    decide: Callable[..., int | None]
    explain: Callable[..., str]


CATEGORIES = (
    Category(
        name="height_higher",
        fronts=(False, False),
        questions=(
            "Which object is higher in the 3D world?",
            "Which is at a greater height, the {a} or the {b}?",
            "Is the {a} or the {b} higher above the table?",
        ),
        answers=(("{a}", "The {a} is higher."), ("{b}", "The {b} is higher.")),
        decide=rules.higher,
        explain=reasoning.heights,
    ),
    Category(
        name="location_above",
        fronts=(False, False),
        questions=(
            "Is the {a} directly above the {b}?",
            "Is the {b} directly underneath the {a}?",
            "Is the {a} straight over the {b}?",
        ),
        answers=(
            ("yes", "The {a} is directly above the {b}."),
            ("no", "The {a} is not directly above the {b}."),
        ),
        decide=rules.above,
        explain=reasoning.offsets,
    ),
    Category(
        name="location_closer_to_camera",
        fronts=(False, False),
        questions=(
            "Which object is closer to the camera?",
            "Which is nearer to the camera, the {a} or the {b}?",
            "Is the {a} or the {b} closer to the camera?",
        ),
        answers=(("{a}", "The {a} is closer to the camera."), ("{b}", "The {b} is closer to the camera.")),
        decide=rules.closer_to_camera,
        explain=reasoning.camera_distances,
    ),
    Category(
        name="location_next_to",
        fronts=(False, False),
        questions=(
            "Are the {a} and the {b} next to each other or far away from each other?",
            "Is the {a} next to the {b} or far away from it?",
            "How close are the {a} and the {b}?",
        ),
        answers=(
            ("far away from each other", "They are far away from each other."),
            ("next to each other", "They are next to each other."),
        ),
        decide=rules.next_to,
        explain=reasoning.one_distance,
    ),
    Category(
        name="orientation_in_front_of",
        fronts=(False, True),
        questions=(
            "Is the {a} in front of the {b} or behind it?",
            "Seen from the {b}, is the {a} in front or behind?",
            "Is the {a} placed in front of the {b} or behind it?",
        ),
        answers=(
            ("in front of", "The {a} is in front of the {b}."),
            ("behind", "The {a} is behind the {b}."),
        ),
        decide=rules.in_front,
        explain=reasoning.against_front,
    ),
    Category(
        name="orientation_on_the_left",
        fronts=(False, True),
        questions=(
            "Is the {a} on the left or on the right of the {b}?",
            "Seen from the {b}, is the {a} on the left or on the right?",
            "On which side of the {b} is the {a}, its own left or right?",
        ),
        answers=(
            ("on the left", "The {a} is on the left of the {b}."),
            ("on the right", "The {a} is on the right of the {b}."),
        ),
        decide=rules.on_left,
        explain=reasoning.against_left,
    ),
    Category(
        name="orientation_viewpoint",
        fronts=(True,),
        questions=(
            "Which side of the {a} is facing the camera?",
            "Which side of the {a} does the camera see most?",
            "Which side does the {a} turn to the camera?",
        ),
        answers=tuple((s, f"The {s} of the {{a}} faces the camera.") for s in SIDES),
        decide=rules.side_to_camera,
        explain=reasoning.sides_to_camera,
    ),
    Category(
        name="multi_object_closer_to",
        fronts=(False, False, False),
        questions=(
            "Which object is closer to the {a}?",
            "Which is nearer to the {a}, the {b} or the {c}?",
            "Is the {b} or the {c} closer to the {a}?",
        ),
        answers=(("{b}", "The {b} is closer to the {a}."), ("{c}", "The {c} is closer to the {a}.")),
        decide=rules.closer_to,
        explain=reasoning.two_distances,
    ),
    Category(
        name="multi_object_facing",
        fronts=(True, False, False),
        questions=(
            "Which object is the {a} facing?",
            "Is the {a} facing the {b} or the {c}?",
            "Which does the {a} point towards, the {b} or the {c}?",
        ),
        answers=(("{b}", "The {a} is facing the {b}."), ("{c}", "The {a} is facing the {c}.")),
        decide=rules.facing,
        explain=reasoning.front_towards,
    ),
    Category(
        name="multi_object_viewpoint_towards_object",
        fronts=(True, False),
        questions=(
            "Which side of the {a} is facing the {b}?",
            "Which side does the {a} turn to the {b}?",
            "Which side of the {a} is nearest to the {b}?",
        ),
        answers=tuple((s, f"The {s} of the {{a}} faces the {{b}}.") for s in SIDES),
        decide=rules.side_to_object,
        explain=reasoning.sides_to_object,
    ),
    Category(
        name="multi_object_parallel",
        fronts=(True, True),
        questions=(
            "Are the {a} and the {b} parallel or perpendicular to each other?",
            "Do the {a} and the {b} stand parallel or perpendicular?",
            "Are the directions of the {a} and the {b} parallel or perpendicular?",
        ),
        answers=(("parallel", "They are parallel."), ("perpendicular", "They are perpendicular.")),
        decide=rules.parallel,
        explain=reasoning.between_fronts,
    ),
    Category(
        name="multi_object_same_direction",
        fronts=(True, True),
        questions=(
            "Are the {a} and the {b} facing the same or very different directions?",
            "Do the {a} and the {b} face the same direction or very different directions?",
            "Do the fronts of the {a} and the {b} point in the same or in very different directions?",
        ),
        answers=(
            ("same direction", "They face the same direction."),
            ("very different directions", "They face very different directions."),
        ),
        decide=rules.same_direction,
        explain=reasoning.between_fronts,
    ),
)
