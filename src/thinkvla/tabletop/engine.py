"""MuJoCo, imported in one place: where it or OpenGL is missing, the error says what to install."""

from __future__ import annotations

import os

OPENGL_HELP = (
    f"MUJOCO_GL is {os.environ.get('MUJOCO_GL') or 'unset'}. On Debian or Ubuntu without a display install "
    "`libegl1 libopengl0 libgl1-mesa-dri` and set MUJOCO_GL=egl (or leave it unset), or install `libosmesa6` and set "
    "MUJOCO_GL=osmesa"
)

try:
    import mujoco
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('the tabletop world needs MuJoCo: pip install "thinkvla[tabletop]"') from error
except (ImportError, AttributeError, OSError, RuntimeError) as error:  # MuJoCo loads MUJOCO_GL's library on import
    raise RuntimeError(f"MuJoCo does not find OpenGL: {error}. {OPENGL_HELP}") from error

__all__ = ["OPENGL_HELP", "mujoco"]
