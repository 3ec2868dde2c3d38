"""RGB images from MuJoCo without a display, with the OpenGL context reused from scene to scene."""

from __future__ import annotations

import os
import sys
from typing import Any

import mujoco
import numpy as np

from thinkvla.contract import Image
from thinkvla.tabletop.scene import LARGEST_IMAGE


class Renderer:
    """Renders the cameras of whatever model was loaded last; no shadows, four samples per pixel."""

    def __init__(self) -> None:
        self._gl = _open_gl_context()
        self._context: Any = None
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._options = mujoco.MjvOption()
        self._options.sitegroup[:] = 0
        self._perturb = mujoco.MjvPerturb()

    def load(self, model: Any) -> None:
        """Take a model's geometry and textures; replaces the previous model's."""
        self._gl.make_current()
        if self._context is not None:
            self._context.free()
        self._model = model
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, 400)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0

    def render(self, data: Any, camera: str, size: tuple[int, int]) -> Image:
        """The camera's uint8 (H, W, 3) image; raises ValueError for a size outside 1..640 pixels."""
        height, width = size
        if not (1 <= height <= LARGEST_IMAGE and 1 <= width <= LARGEST_IMAGE):
            raise ValueError(f"render size: expected (height, width) within 1..{LARGEST_IMAGE} pixels, got {size}")
        self._gl.make_current()
        self._camera.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._options,
            self._perturb,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        image = np.empty((height, width, 3), np.uint8)
        viewport = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, viewport, self._context)
        return np.ascontiguousarray(image[::-1])

    def close(self) -> None:
        """Free the OpenGL context; harmless when called twice."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._context = None
        if self._gl is not None:
            self._gl.free()
            self._gl = None


def _open_gl_context() -> Any:
    """An OpenGL context from MUJOCO_GL's backend; EGL where that is unset on Linux, since it needs no display."""
    backend = os.environ.get("MUJOCO_GL", "").lower()
    try:
        if backend == "osmesa":
            from mujoco.osmesa import GLContext
        elif backend == "egl" or (not backend and sys.platform == "linux"):
            from mujoco.egl import GLContext
        else:
            from mujoco import GLContext
        context = GLContext(LARGEST_IMAGE, LARGEST_IMAGE)
        context.make_current()
    except (ImportError, RuntimeError, AttributeError, TypeError, OSError) as error:
        raise RuntimeError(
            f"no OpenGL for rendering (MUJOCO_GL={backend or 'unset'}): {error}. On Debian or Ubuntu install "
            "`libegl1 libopengl0 libgl1-mesa-dri` for MUJOCO_GL=egl, or `libosmesa6` for MUJOCO_GL=osmesa"
        ) from error
    return context
