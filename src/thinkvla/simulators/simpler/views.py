"""A simulator's view at the size that a policy expects."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from thinkvla.contract import Image


def resized(view: Image, image_size: Sequence[int]) -> Image:
    """A view (H, W, 3) at (height, width), without regard to its proportions, by OpenCV's INTER_AREA as in starVLA."""
    height, width = image_size
    small: Image = np.asarray(cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return small
