"""What the tabletop robot shows and accepts.

Translations and rotations are increments of the commanded hand pose along and about the axes of the robot base, as in
LIBERO; the rotation turns the hand about the point between its finger tips.
"""

from __future__ import annotations

from thinkvla.contract import Embodiment

TRANSLATION = 0.05
"""Metres per control step for an action of 1."""
ROTATION = 0.25
"""Radians per control step for an action of 1."""
GRIP = 0.022
"""Metres by which the opening between the fingers shrinks per control step for a gripper action of 1."""

TABLETOP = Embodiment(
    name="tabletop",
    cameras=("front", "wrist"),
    image_size=(96, 96),
    control_hz=10.0,
    action_names=("x", "y", "z", "rx", "ry", "rz", "gripper"),
    action_units=(f"{TRANSLATION} m",) * 3 + (f"{ROTATION} rad",) * 3 + (f"{GRIP} m closing",),
    action_low=(-1.0,) * 7,
    action_high=(1.0,) * 7,
)
"""Two 96×96 views; Δx, Δy, Δz, Δ axis-angle and gripper (−1 open, +1 close), each in [−1, 1], ten times a second."""
