"""RGB images from MuJoCo without a display, with the OpenGL context reused from scene to scene."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

import numpy as np

from thinkvla.contract import Image
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.engine import OPENGL_HELP, mujoco
from thinkvla.tabletop.scene import LARGEST_IMAGE, SUPERSAMPLING


class Renderer:
    """Renders any model's cameras; no shadows, smooth edges."""

    def __init__(self) -> None:
        self._gl = _open_gl_context()
        self._model: Any = None
        self._context: Any = None
        self._scene: Any = None
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._options = mujoco.MjvOption()
        self._options.sitegroup[:] = 0
        self._perturb = mujoco.MjvPerturb()

    def render(self, model: Any, data: Any, camera: str, size: tuple[int, int]) -> Image:
        """The camera's uint8 (H, W, 3) image; raises ValueError for an unknown camera or a size over 640 pixels."""
        height, width = size
        if not (1 <= height <= LARGEST_IMAGE and 1 <= width <= LARGEST_IMAGE):
            raise ValueError(f"render size: expected (height, width) within 1..{LARGEST_IMAGE} pixels, got {size}")
        if camera not in TABLETOP.cameras:
            raise ValueError(f"render camera: unknown camera '{camera}'; expected one of {list(TABLETOP.cameras)}")
        self._gl.make_current()
        if model is not self._model:
            self._load(model)
        self._camera.fixedcamid = model.camera(camera).id
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._options, self._perturb, self._camera, everything, self._scene)
        fine = np.empty((SUPERSAMPLING * height, SUPERSAMPLING * width, 3), np.uint8)
        if self._context.offWidth < fine.shape[1] or self._context.offHeight < fine.shape[0]:
            mujoco.mjr_resizeOffscreen(fine.shape[1], fine.shape[0], self._context)
        viewport = mujoco.MjrRect(0, 0, fine.shape[1], fine.shape[0])
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(fine, None, viewport, self._context)
        return _shrink(fine[::-1])  # OpenGL begins at the bottom

    def _load(self, model: Any) -> None:
        """Put a model's geometry and textures in place of the previous one's."""
        if self._context is not None:
            self._context.free()
        self._model = model
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, 400)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0

    def close(self) -> None:
        """Free the model's geometry; the process keeps its OpenGL context for the next renderer."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._context = self._model = None


def _shrink(fine: Image) -> Image:
    """Average blocks of SUPERSAMPLING × SUPERSAMPLING pixels, rounding to nearest."""
    total = np.full((fine.shape[0] // SUPERSAMPLING, fine.shape[1] // SUPERSAMPLING, 3), SUPERSAMPLING**2 // 2)
    for row in range(SUPERSAMPLING):
        for column in range(SUPERSAMPLING):
            total += fine[row::SUPERSAMPLING, column::SUPERSAMPLING]
    return (total // SUPERSAMPLING**2).astype(np.uint8)


@cache
def _open_gl_context() -> Any:
    """The process's OpenGL context, from MUJOCO_GL's backend; on Linux EGL by default, since it needs no display."""
    backend = os.environ.get("MUJOCO_GL", "").lower()
    try:
        if backend == "egl" or (not backend and sys.platform == "linux"):
            from mujoco.egl import GLContext
        else:
            from mujoco import GLContext
        context = GLContext(LARGEST_IMAGE, LARGEST_IMAGE)
        context.make_current()
        mujoco.MjrContext(mujoco.MjSpec().compile(), mujoco.mjtFontScale.mjFONTSCALE_50).free()  # fails without OpenGL
    except (ImportError, AttributeError, OSError, RuntimeError, TypeError, mujoco.FatalError) as error:
        raise RuntimeError(f"no OpenGL for rendering: {error}. {OPENGL_HELP}") from error
    return context
