"""Rotations in the forms that robots speak. Matrices are (3, 3), float64; angles in radians."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


def from_vector(vector: ArrayLike) -> Vector:
    """The matrix of an axis times angle (3,)."""
    x, y, z = vector = np.asarray(vector, np.float64)
    angle = float(np.linalg.norm(vector))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    half = np.sinc(angle / (2 * np.pi)) ** 2 / 2  # (1 − cos) / angle²
    matrix: Vector = np.eye(3) + np.sinc(angle / np.pi) * cross + half * cross @ cross
    return matrix


def to_vector(matrix: Vector) -> Vector:
    """The axis times angle (3,) of a matrix, its angle at most π."""
    w, *axis = to_quaternion(matrix)
    length = float(np.linalg.norm(axis))
    angle = 2 * np.arctan2(length, w)
    return np.asarray(axis) * (angle / length if length > 1e-12 else 2.0)


def to_quaternion(matrix: Vector) -> Vector:
    """The quaternion (w, x, y, z) of a matrix, w not negative."""
    # The eigenvector of the largest eigenvalue of K: well conditioned for every angle (Bar-Itzhack, 2000).
    (a, b, c), (d, e, f), (g, h, i) = matrix
    k = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    quaternion: Vector = np.linalg.eigh(k)[1][:, -1]
    return quaternion if quaternion[0] >= 0 else -quaternion


def from_euler(angles: ArrayLike) -> Vector:
    """The matrix of turns about the fixed x, then y, then z axis (rx, ry, rz): RealMan's Euler angles."""
    rx, ry, rz = np.asarray(angles, np.float64)
    return from_vector([0, 0, rz]) @ from_vector([0, ry, 0]) @ from_vector([rx, 0, 0])
