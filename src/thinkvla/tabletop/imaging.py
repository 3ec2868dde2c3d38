"""What an imperfect sensor makes of a clean picture: blur, exposure, noise and dead pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageFilter

from thinkvla.contract import Image
from thinkvla.tabletop.scene import SensorSpec


def expose(picture: Image, sensor: SensorSpec, frame: int, camera: int) -> Image:
    """The picture as the sensor gives it; the same arguments give the same picture, bit for bit.

    Args:
        picture: uint8 (H, W, 3).
        sensor: its faults.
        frame: control steps since the episode began.
        camera: number of the camera, so that two cameras' faults differ.

    Returns:
        uint8 (H, W, 3); the picture itself for a sensor without faults.
    """
    if not (sensor.noise or sensor.blur or sensor.exposure or sensor.dead):
        return picture
    rng = np.random.default_rng([sensor.seed, frame, camera])
    radius = sensor.blur * picture.shape[0]
    blurred = PillowImage.fromarray(picture).filter(ImageFilter.GaussianBlur(radius))
    values = np.asarray(blurred, np.float64) * 2.0 ** rng.normal(0.0, sensor.exposure)
    values += rng.normal(0.0, 255 * sensor.noise, picture.shape)
    dead = rng.random(picture.shape[:2]) < sensor.dead
    values[dead] = np.where(rng.random((int(dead.sum()), 1)) < 0.5, 0.0, 255.0)
    noisy: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return noisy
