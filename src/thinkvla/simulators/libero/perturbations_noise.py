"""Worse sensors for LIBERO's cameras: grain, defocus, motion blur, fog, and a pane of rough glass.

An episode has one fault, which both cameras share. Grain is drawn anew for each frame; the others stay as they are
throughout the episode, as a dirty lens does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageFilter

from thinkvla.contract import Image

Values = NDArray[np.float64]


@dataclass(frozen=True)
class NoisySensor:
    """A camera's fault.

    Attributes:
        fault: a key of ``FAULTS``.
        level: how bad it is, 1 to 3.
        seed: of everything that is random about it.
    """

    fault: str
    level: int
    seed: int

    @staticmethod
    def draw(rng: np.random.Generator, level: int) -> NoisySensor:
        """A fault of the given level; what ``rng`` draws does not depend on the level."""
        return NoisySensor(str(rng.choice(list(FAULTS))), level, int(rng.integers(2**31)))

    def expose(self, picture: Image, frame: int, camera: int) -> Image:
        """The picture as this sensor gives it; the same arguments give the same picture, bit for bit.

        Args:
            picture: uint8 (H, W, 3).
            frame: control steps since the episode began.
            camera: number of the camera, so that two cameras' faults differ.
        """
        lasting = np.random.default_rng([self.seed, camera])
        fresh = np.random.default_rng([self.seed, camera, frame])
        values = FAULTS[self.fault](picture.astype(np.float64), lasting, fresh, self.level)
        seen: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return seen


def _grain(values: Values, lasting: np.random.Generator, fresh: np.random.Generator, level: int) -> Values:
    """Normal noise of 4, 8 or 14 % of full scale on each pixel and channel."""
    return values + fresh.normal(0.0, 255 * (0.04, 0.08, 0.14)[level - 1], values.shape)


def _defocus(values: Values, lasting: np.random.Generator, fresh: np.random.Generator, level: int) -> Values:
    """Gaussian blur with a radius of 0.6, 1.2 or 2 % of the height."""
    radius = (0.006, 0.012, 0.02)[level - 1] * values.shape[0]
    blurred = PillowImage.fromarray(values.astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred, np.float64)


def _motion(values: Values, lasting: np.random.Generator, fresh: np.random.Generator, level: int) -> Values:
    """The mean along a line of 2, 4.5 or 8 % of the height, in one direction throughout the episode."""
    half = (0.02, 0.045, 0.08)[level - 1] * values.shape[0] / 2
    angle = lasting.uniform(0, np.pi)
    margin = int(np.ceil(half))
    height, width = values.shape[:2]
    wide = np.pad(values, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    along = np.linspace(-half, half, 4 * margin + 1)
    rows, columns = (margin + np.rint(along * part).astype(int) for part in (np.sin(angle), np.cos(angle)))
    shifted = [wide[row : row + height, column : column + width] for row, column in zip(rows, columns, strict=True)]
    mean: Values = np.mean(shifted, axis=0)
    return mean


def _fog(values: Values, lasting: np.random.Generator, fresh: np.random.Generator, level: int) -> Values:
    """Uneven light grey over 25, 45 or 65 % of what is seen, on average."""
    height, width = values.shape[:2]
    coarse = PillowImage.fromarray(lasting.uniform(0.6, 1.4, (5, 5)).astype(np.float32), mode="F")
    uneven = np.asarray(coarse.resize((width, height), PillowImage.Resampling.BICUBIC), np.float64)[..., None]
    share = np.clip((0.25, 0.45, 0.65)[level - 1] * uneven, 0, 0.95)
    return (1 - share) * values + share * 225.0


def _glass(values: Values, lasting: np.random.Generator, fresh: np.random.Generator, level: int) -> Values:
    """Each pixel is seen up to 0.8, 1.6 or 3.2 % of the height beside its place."""
    height, width = values.shape[:2]
    reach = (0.008, 0.016, 0.032)[level - 1] * height
    aside = lasting.uniform(-1, 1, (2, height, width))
    rows, columns = np.indices((height, width)) + np.rint(reach * aside).astype(int)
    seen: Values = values[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    return seen


FAULTS: Mapping[str, Callable[[Values, np.random.Generator, np.random.Generator, int], Values]] = {
    "grain": _grain,
    "defocus": _defocus,
    "motion": _motion,
    "fog": _fog,
    "glass": _glass,
}
"""What each fault does to a picture's values, 0 to 255, given generators for what lasts and for each frame's own."""
