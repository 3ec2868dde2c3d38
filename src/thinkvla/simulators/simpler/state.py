"""The simulator's truth about a moment, for the scripted expert: poses, the gripper, and whether it touches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinkvla.contract import ContractError
from thinkvla.simulators.simpler.actions import Matrix, Vector, from_quaternion

SIZE = 4 * 7 + 2


@dataclass(frozen=True)
class Pose:
    """Where something is, in the frame of the robot's base.

    Attributes:
        position: float64 (3,) metres.
        quaternion: float64 (4,) w, x, y, z.
    """

    position: Vector
    quaternion: Vector

    @property
    def rotation(self) -> Matrix:
        """(3, 3) the same as a matrix: its columns are the thing's axes."""
        return from_quaternion(self.quaternion)


@dataclass(frozen=True)
class SceneState:
    """One moment of a task.

    Attributes:
        hand: the point between the finger tips; its x points out of the hand, the fingers move along its y.
        target: pose that the controller aims the hand at.
        source: the object to be moved.
        goal: the thing that it belongs on.
        opening: distance of both fingers from the hand's middle, together, metres.
        touching: whether both fingers press on the source.
    """

    hand: Pose
    target: Pose
    source: Pose
    goal: Pose
    opening: float
    touching: bool

    def to_vector(self) -> Vector:
        """float64 (30,) all of it in a row."""
        poses = (self.hand, self.target, self.source, self.goal)
        parts = [part for pose in poses for part in (pose.position, pose.quaternion)]
        return np.concatenate([*parts, [self.opening, float(self.touching)]]).astype(np.float64)

    @staticmethod
    def from_vector(values: NDArray[np.float64]) -> SceneState:
        """The inverse of :meth:`to_vector`; raises ContractError for another shape."""
        if values.shape != (SIZE,):
            raise ContractError(f"snapshot of SimplerEnv: expected shape ({SIZE},), got {values.shape}")
        poses = [Pose(values[i : i + 3], values[i + 3 : i + 7]) for i in range(0, 28, 7)]
        return SceneState(poses[0], poses[1], poses[2], poses[3], float(values[28]), bool(values[29]))
