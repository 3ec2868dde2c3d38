"""What the geometry adapter's features F_geo hold, beside the true geometry and the teacher's features F_3D.

Features are drawn as colours: their first three principal components, of unit vectors since only directions count in
L_geo. The components are those of the teacher's features over all drawn pictures, and serve for every policy, so equal
colours mean equal features. The teacher is the simulator's: codes of the true 3D points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from thinkvla.contract import Image
from thinkvla.diagnose.common import (
    PICTURES,
    DiagnoseOptions,
    Examined,
    batches,
    load,
    mean_of,
    now,
    origins,
    progress_over,
    save_sheet,
)
from thinkvla.diagnose.moments import Moment, moments
from thinkvla.diagnose.pictures import Column, colours, shades, sheet
from thinkvla.evaluate.diagnosis import Diagnosis
from thinkvla.files import new_folder
from thinkvla.method.geometry import geometry_distance
from thinkvla.tabletop.sensing import FARTHEST
from thinkvla.teachers.simulator import SimulatorTeacher
from thinkvla.versions import versions

Features = NDArray[np.float32]
WITHOUT_LOOKING = "without looking"
EXPLANATION = (
    "F_geo, what the geometry adapter makes of each patch, beside the simulator teacher's F_3D, the code of the true "
    "3D points there. Both are drawn as colours by the same three principal components, those of the teacher's "
    "features: equal colours mean equal features. 'without looking' is the best that a patch could say without seeing "
    "the picture: the teacher's mean direction there over the same observations."
)


def diagnose_geometry(options: DiagnoseOptions) -> Diagnosis:
    """Features, pictures and cosines for every policy on the same observations, written to ``options.output``.

    Raises:
        ValueError: options do not fit (no checkpoint, an existing output, an unknown suite, too many observations), or
            a policy has no geometry adapter, or one for another teacher.
        ContractError: a policy is for another robot.
    """
    examined, created = load(options), now()
    teacher = SimulatorTeacher()
    for one in examined:
        _check(one, teacher.dim)
    seen = moments(options.suite, options.observations)
    targets = teacher.features(torch.from_numpy(np.stack([moment.points for moment in seen])))
    found = {one.name: _features(one, seen) for one in progress_over(examined, "reading features")}
    means = torch.nn.functional.normalize(targets, dim=-1).mean(dim=0, keepdim=True).expand_as(targets)
    cosines = {name: 1 - geometry_distance(targets, features) for name, features in found.items()}
    cosines[WITHOUT_LOOKING] = 1 - geometry_distance(targets, means)
    numbers = {name: [_numbers(maps, seen[0]) for maps in values.numpy()] for name, values in cosines.items()}
    basis = Basis(targets[:PICTURES].numpy())
    with new_folder(options.output) as folder:
        pictures = []
        for i, moment in enumerate(seen[:PICTURES]):
            columns = [*_truth(moment, seen[:PICTURES]), _column("teacher F_3D", targets[i].numpy(), moment, basis)]
            for name, features in found.items():
                columns.append(_column(f"{name}: F_geo", features[i].numpy(), moment, basis, cosines[name][i].numpy()))
            drawn = sheet(list(moment.observation.images), columns)
            pictures.append(save_sheet(folder, f"geometry-{i}.png", drawn, moment))
        result = Diagnosis(
            kind="geometry",
            explanation=EXPLANATION,
            policies={one.name: one.checkpoint for one in examined},
            fingerprints={one.name: one.fingerprint for one in examined},
            numbers={name: mean_of(rows) for name, rows in numbers.items()},
            pictures=tuple(pictures),
            observations=origins(seen, numbers),
            options=options.plain(),
            versions=versions(),
            created=created,
        )
        result.save(folder)
    return result


class Basis:
    """The first three principal components of features' directions, as red, green and blue.

    Args:
        features: (..., G) features that the components are fitted to.
    """

    def __init__(self, features: Features) -> None:
        directions = _unit(features.reshape(-1, features.shape[-1]))
        self.centre = directions.mean(axis=0)
        _, _, components = np.linalg.svd(directions - self.centre, full_matrices=False)
        # The sign of a component is arbitrary; fixed, the same features have the same colours on every machine.
        signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
        self.components = (components * signs[:, None])[:3]
        placed = (directions - self.centre) @ self.components.T
        self.low, self.high = np.quantile(placed, 0.02, axis=0), np.quantile(placed, 0.98, axis=0)

    def colours(self, features: Features) -> Features:
        """(..., G) features → (..., 3); most of the fitted ones lie in [0, 1]."""
        placed = (_unit(features) - self.centre) @ self.components.T
        scaled: Features = (placed - self.low) / np.maximum(self.high - self.low, 1e-9)
        return scaled


def _check(one: Examined, dim: int) -> None:
    config = one.policy.policy.config
    if not config.geometry_adapter:
        raise ValueError(
            f"{one.checkpoint}: the policy has no geometry adapter (method.geometry_adapter); leave it out"
        )
    if config.geometry_dim != dim:
        raise ValueError(
            f"{one.checkpoint}: method.geometry_dim is {config.geometry_dim}, but the simulator teacher gives {dim}; "
            "the policy learned from another teacher, leave it out"
        )


def _features(one: Examined, seen: Sequence[Moment]) -> torch.Tensor:
    """F_geo of every moment, (N, V, h, w, G) float32."""
    found = []
    for batch in batches(seen):
        tokens = one.policy.preprocessor.act_tokens([moment.observation for moment in batch]).to(one.policy.device)
        with torch.inference_mode():
            features = one.policy.policy.think(tokens).features_BVhwG
        assert features is not None, "a policy with a geometry adapter gives features"
        found.append(features.float().cpu())
    return torch.cat(found)


def _numbers(cosines: Features, moment: Moment) -> dict[str, float | None]:
    """Mean cosine to the teacher over all patches, and over each view's."""
    numbers: dict[str, float | None] = {"cosine to teacher": float(cosines.mean())}
    for camera, view in zip(moment.observation.images, cosines, strict=True):
        numbers[f"in {camera}"] = float(view.mean())
    return numbers


def _truth(moment: Moment, drawn: Sequence[Moment]) -> list[Column]:
    """The picture, how far everything is, and where: points' x, y, z as red, green and blue."""
    size = moment.pictures[0].shape[:2]
    low, high = (np.quantile(np.stack([m.points for m in drawn]), q, axis=(0, 1, 2, 3)) for q in (0.05, 0.95))
    hit = [view[view < 0.99 * FARTHEST] for view in moment.distances]  # the sky would take all shades
    near, far = zip(*(np.quantile(view, (0.02, 0.98)) for view in hit), strict=True)
    distances = [shades(-d, -f, -n, size) for d, n, f in zip(moment.distances, near, far, strict=True)]
    points = [colours((view - low) / (high - low), size) for view in moment.points]
    return [
        Column("picture", moment.pictures, [""] * len(points)),
        Column(
            "true distance", distances, [f"{n:.2f} m bright, {f:.2f} m dark" for n, f in zip(near, far, strict=True)]
        ),
        Column("true points", points, ["x, y, z as red, green, blue"] * len(points)),
    ]


def _column(heading: str, features: Features, moment: Moment, basis: Basis, cosines: Features | None = None) -> Column:
    """Features (V, h, w, G) as colours, with each view's mean cosine (V, h, w) to the teacher."""
    size = moment.pictures[0].shape[:2]
    drawn: list[Image] = [colours(basis.colours(view), size) for view in features]
    notes = [""] * len(drawn) if cosines is None else [f"cosine to teacher {view.mean():.2f}" for view in cosines]
    return Column(heading, drawn, notes)


def _unit(features: Features) -> Features:
    scaled: Features = features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-9)
    return scaled
