"""A scene as plain data, and the MuJoCo model made from it.

World frame: the robot base's, with the table top at z = 0. Everything a robustness test perturbs (objects, lights,
cameras, colours, the robot's start) is a field of :class:`SceneSpec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from thinkvla.tabletop.arm import add_arm
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.engine import mujoco
from thinkvla.tabletop.shapes import COLOURS, RGB, SHAPES, STIFF, Shape, Triple, add_shape, pedestal

TABLE = "table"
TIMESTEP = 0.004
"""Seconds of one physics step."""
LARGEST_IMAGE = 640
"""Pixels: the largest side of a rendered image."""
SQUARE = 0.08
"""Metres: side of a square of a checkered table."""
SUPERSAMPLING = 2
"""Rendered pixels per image pixel along each side: edges as smooth as multisampling's, in half its time on a CPU."""


@dataclass(frozen=True)
class ThingSpec:
    """An object or a container on the table.

    Attributes:
        shape: a key of ``SHAPES``.
        colour: a key of ``COLOURS``.
        x: metres forward of the robot base.
        y: metres to its left.
        yaw: radians about the vertical.
        base: height of its underside above the table, metres.
        size: scale of the shape.
        alpha: opacity, 1 is opaque.
        height: of a pedestal, metres; None for other shapes, and for the usual pedestal.
    """

    shape: str
    colour: str
    x: float
    y: float
    yaw: float = 0.0
    base: float = 0.0
    size: float = 1.0
    alpha: float = 1.0
    height: float | None = None

    @property
    def name(self) -> str:
        """What an instruction calls it, e.g. ``red cube``."""
        return f"{self.colour} {self.shape}"

    @property
    def kind(self) -> Shape:
        """Its shape's geometry; raises ValueError for an unknown shape, or a height that is no pedestal's."""
        if self.shape not in SHAPES:
            raise ValueError(f"thing '{self.name}': unknown shape '{self.shape}'; expected one of {sorted(SHAPES)}")
        if self.height is None:
            return SHAPES[self.shape]
        if self.shape != "pedestal":
            raise ValueError(f"thing '{self.name}': height is for pedestals; scale a {self.shape} by its size")
        return pedestal(self.height)

    @property
    def radius(self) -> float:
        """Radius of the circle around its footprint, metres."""
        return self.kind.radius * self.size

    @property
    def top(self) -> float:
        """Height of its highest point above the table, metres."""
        return self.base + 2 * self.kind.half_size[2] * self.size


@dataclass(frozen=True)
class CameraSpec:
    """A camera, in the frame of what carries it (the world, or the hand).

    Attributes:
        position: metres.
        target: the point it looks at, metres.
        up: direction that is up in its image.
        fovy: vertical field of view, degrees.
    """

    position: Triple
    target: Triple
    up: Triple
    fovy: float


FRONT = CameraSpec((1.25, 0.0, 1.05), (0.43, 0.0, 0.075), (0.0, 0.0, 1.0), 28.0)
"""The usual third-person camera: across the table, facing the robot."""


@dataclass(frozen=True)
class LightSpec:
    """A directional light; ``diffuse`` is its strength in [0, 1] per colour."""

    direction: Triple
    diffuse: RGB


@dataclass(frozen=True)
class RobotStart:
    """Where the hand is at the start, pointing down: position in metres, yaw in radians."""

    position: Triple = (0.40, 0.0, 0.24)
    yaw: float = 0.0


@dataclass(frozen=True)
class SensorSpec:
    """What the cameras' sensors do to a picture, drawn anew for every frame; the default does nothing.

    Attributes:
        noise: standard deviation of Gaussian noise on every pixel and colour, as a share of full scale.
        blur: standard deviation of a Gaussian blur, as a share of the picture's height.
        exposure: standard deviation of the exposure's error, in stops (1 stop is twice as bright).
        dead: share of pixels that are black or white.
        seed: with a frame's number and the camera it makes the frame's draws.
    """

    noise: float = 0.0
    blur: float = 0.0
    exposure: float = 0.0
    dead: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class SceneSpec:
    """Everything that makes a scene.

    Attributes:
        things: objects and containers; no two may share a name.
        instruction: what the robot is told.
        target: name of the thing to move.
        container: name of the thing it has to go into or onto.
        robot: the robot's start.
        front: third-person camera, in the world frame.
        wrist: camera on the hand, in the hand's frame (+x out of the palm, +y along the fingers' travel).
        lights: directional lights.
        ambient: strength of the light from everywhere, in [0, 1].
        table: RGB of the table top.
        checker: RGB of every second square of a checkered table top; None for one colour.
        background: RGB at the bottom and at the top of what lies behind the table.
        sensor: faults of both cameras' pictures.
    """

    things: tuple[ThingSpec, ...]
    instruction: str
    target: str
    container: str
    robot: RobotStart = RobotStart()
    front: CameraSpec = FRONT
    wrist: CameraSpec = CameraSpec((0.085, 0.0, -0.075), (0.205, 0.0, -0.020), (0.0, 0.0, 1.0), 78.0)
    lights: tuple[LightSpec, ...] = (
        LightSpec((-0.5, 0.35, -1.0), (0.55, 0.54, 0.52)),
        LightSpec((-0.2, -0.7, -0.7), (0.22, 0.23, 0.25)),
    )
    ambient: float = 0.38
    table: RGB = (0.74, 0.69, 0.62)
    checker: RGB | None = None
    background: tuple[RGB, RGB] = ((0.86, 0.90, 0.94), (0.52, 0.62, 0.72))
    sensor: SensorSpec = SensorSpec()


def build_model(scene: SceneSpec) -> Any:
    """Compile the scene into a MuJoCo model; raises ValueError for unknown shapes or colours or doubled names."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = TIMESTEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    visual = spec.visual
    # A large buffer takes longer to make than a picture; the renderer enlarges it for large pictures.
    visual.global_.offwidth = visual.global_.offheight = SUPERSAMPLING * max(TABLETOP.image_size)
    visual.quality.offsamples, visual.quality.shadowsize = 0, 0
    visual.quality.numslices, visual.quality.numstacks = 22, 12
    visual.map.znear, visual.map.zfar = 0.01, 10.0
    visual.headlight.ambient = (scene.ambient,) * 3
    visual.headlight.diffuse = visual.headlight.specular = (0.0, 0.0, 0.0)
    spec.stat.extent = 1.0
    _add_surroundings(spec, scene)
    hand = add_arm(spec)
    _add_camera(spec.worldbody, "front", scene.front)
    _add_camera(hand, "wrist", scene.wrist)
    names = [thing.name for thing in scene.things]
    for thing in scene.things:
        if names.count(thing.name) > 1:
            raise ValueError(f"scene: two things are called '{thing.name}'; give one another colour or shape")
        _add_thing(spec, thing)
    return spec.compile()


def _add_surroundings(spec: Any, scene: SceneSpec) -> None:
    bottom, top = scene.background
    spec.add_texture(
        name="background",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=top,
        rgb2=bottom,
        width=64,
        height=384,
    )
    for light in scene.lights:
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            pos=(0, 0, 2),
            dir=light.direction,
            diffuse=light.diffuse,
            ambient=(0, 0, 0),
            specular=(0.15, 0.15, 0.15),
            castshadow=False,
        )
    table = spec.worldbody.add_geom(
        name=TABLE,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(0.50, 0.60, 0.02),
        pos=(0.30, 0, -0.02),
        rgba=(*scene.table, 1.0),
        contype=2,
        conaffinity=3,
        condim=4,
        friction=(1.0, 0.005, 0.0005),
        solref=STIFF,
    )
    if scene.checker is not None:
        _checker(spec, table, scene.table, scene.checker)


def _checker(spec: Any, geom: Any, one: RGB, other: RGB) -> None:
    """Paint a geom with squares of two colours."""
    texture = spec.add_texture(
        name="checker",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=one,
        rgb2=other,
        width=64,
        height=64,
    )
    material = spec.add_material(name="checker", texuniform=True, texrepeat=(1 / SQUARE, 1 / SQUARE))
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture.name
    geom.material, geom.rgba = material.name, (1, 1, 1, 1)


def _add_camera(body: Any, name: str, camera: CameraSpec) -> None:
    backward = np.subtract(camera.position, camera.target)
    backward /= np.linalg.norm(backward)
    right = np.cross(camera.up, backward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(backward, right), backward], axis=1)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, rotation.ravel())
    body.add_camera(name=name, pos=camera.position, quat=quat, fovy=camera.fovy)


def _add_thing(spec: Any, thing: ThingSpec) -> None:
    shape = thing.kind
    if thing.colour not in COLOURS:
        raise ValueError(f"thing '{thing.name}': unknown colour '{thing.colour}'; expected one of {sorted(COLOURS)}")
    half_yaw = thing.yaw / 2
    body = spec.worldbody.add_body(
        name=thing.name,
        pos=(thing.x, thing.y, thing.base + shape.half_size[2] * thing.size),
        quat=(np.cos(half_yaw), 0, 0, np.sin(half_yaw)),
    )
    if shape.movable:
        body.add_freejoint()
    add_shape(body, shape, COLOURS[thing.colour], thing.size, thing.alpha)
