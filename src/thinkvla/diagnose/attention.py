"""What the action queries attend to over the image patches (the paper's figure 1 d–e).

For each observation, the attention of the C action queries of the action prompt, averaged over heads and queries: layer
by layer, and averaged over layers. The language model sees each 2 × 2 patches as one token, so a map has one value for
each such block, tokens in raster order. A policy whose geometry branch pools by attention has a second map, of the
latent 3D features that its queries read, one value a patch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinkvla.backbones.attention import attention_weights
from thinkvla.backbones.qwen_vl import QwenVL
from thinkvla.contract import Image, Observation
from thinkvla.deploy import DeployedPolicy
from thinkvla.diagnose.common import (
    PICTURES,
    DiagnoseOptions,
    batches,
    load,
    mean_of,
    now,
    origins,
    progress_over,
    save_sheet,
)
from thinkvla.diagnose.moments import Moment, moments
from thinkvla.diagnose.pictures import Column, heat, sheet
from thinkvla.evaluate.diagnosis import Diagnosis
from thinkvla.files import new_folder
from thinkvla.method.batch import Tokens
from thinkvla.method.integration import Attend
from thinkvla.versions import versions

Map = NDArray[np.float32]
LAYERS_OF = 1
"""Which observation is drawn layer by layer."""
MOST_LAYERS = 6
"""Layers drawn of a deeper model, evenly over its depth."""
BRIGHTEST = 0.95
"""Quantile of a view's values from which on they are drawn brightest."""
LEAST_BRIGHTEST = 1.5
"""Multiple of an even share below which nothing is drawn brightest, so that a map without aim stays dim."""
EXPLANATION = (
    "Attention of the action queries over the image tokens, averaged over heads, queries and layers. In each view, "
    "what glows gets more than an even share of the view's attention; the most attended twentieth is drawn alike, "
    "since single tokens draw attention whatever the picture. '3D pooling' is how the geometry branch weighs the "
    "patches whose latent 3D features it hands to the queries. '× its area' is a thing's share of the attention on "
    "both images over its share of the images: attention spread evenly gives 1."
)


@dataclass(frozen=True)
class Attention:
    """Where the action queries of one observation look.

    Attributes:
        layers: float32 (layers, V, h, w), the share of a layer's attention that goes to each image token; the rest of
            it goes to text, anchor and queries.
        geometry: float32 (V, 2h, 2w), the share of each patch in attention pooling of F_geo, all patches together one;
            None for a policy without it.
    """

    layers: Map
    geometry: Map | None

    @property
    def mean(self) -> Map:
        """Mean over layers, (V, h, w)."""
        averaged: Map = self.layers.mean(axis=0)
        return averaged


def attend(policy: DeployedPolicy, observations: Sequence[Observation]) -> list[Attention]:
    """Where the action queries look in each observation; the policy acts as it always does.

    Raises:
        ContractError: an observation does not fit the policy's embodiment.
    """
    tokens = policy.preprocessor.act_tokens(observations).to(policy.device)
    backbone = policy.policy.backbone
    assert isinstance(backbone, QwenVL), "a checkpoint's backbone is a Qwen-VL"
    pooling = policy.policy.integration.geometry
    pool = None if pooling is None else pooling.attend
    with attention_weights(backbone) as weights, _pooling_weights(pool) as pooled:
        policy.policy.act(tokens)
    layers = torch.stack([_of_queries(layer, tokens, policy) for layer in weights], dim=1)
    image_BL = tokens.ids_BL == backbone.model.config.image_token_id
    grid = _grid(tokens, backbone.merge)
    maps = [row[:, kept].reshape(len(weights), -1, *grid) for row, kept in zip(layers, image_BL, strict=True)]
    patches = [None] * len(maps) if not pooled else list(pooled[0].mean(dim=1))
    return [
        Attention(
            found.float().cpu().numpy(),
            None if patch is None else _patches(patch, grid, backbone.merge),
        )
        for found, patch in zip(maps, patches, strict=True)
    ]


def diagnose_attention(options: DiagnoseOptions) -> Diagnosis:
    """Maps, pictures and numbers for every policy on the same observations, written to ``options.output``.

    Raises:
        ValueError: options do not fit: no checkpoint, an existing output, an unknown suite, too many observations.
        ContractError: a policy is for another robot.
    """
    examined, created = load(options), now()
    seen = moments(options.suite, options.observations)
    found = {
        one.name: [found for batch in batches(seen) for found in attend(one.policy, [m.observation for m in batch])]
        for one in progress_over(examined, "reading attention")
    }
    numbers = {name: [_numbers(*pair) for pair in zip(maps, seen, strict=True)] for name, maps in found.items()}
    with new_folder(options.output) as folder:
        pictures = [
            save_sheet(folder, f"attention-{i}.png", _sheet(moment, {n: m[i] for n, m in found.items()}), moment)
            for i, moment in enumerate(seen[:PICTURES])
        ]
        number = min(LAYERS_OF, len(seen) - 1)
        for place, (name, maps) in enumerate(found.items()):
            drawn = _layers_sheet(seen[number], maps[number])
            pictures.append(save_sheet(folder, f"layers-{place}.png", drawn, seen[number], f"{name}, layer by layer."))
        result = Diagnosis(
            kind="attention",
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


def concentration(shares: Map, names: NDArray[np.str_], thing: str) -> float | None:
    """How much more of the attention a thing gets than its area: 1 is what attention spread evenly gives it.

    Args:
        shares: (V, h, w) attention.
        names: (V, H, W) what is seen where.
        thing: one of them.

    Returns:
        its share of all attention on images over its share of the images; None when it is not seen.
    """
    covered = _coverage(names == thing, shares.shape[1:])
    if not covered.any():
        return None
    return float((shares * covered).sum() / shares.sum() / covered.mean())


def _numbers(found: Attention, moment: Moment) -> dict[str, float | None]:
    mean = found.mean
    numbers: dict[str, float | None] = {"share on images": float(mean.sum())}
    for camera, view in zip(moment.observation.images, mean, strict=True):
        numbers[f"share on {camera}"] = float(view.sum())
    for role, thing in moment.roles.items():
        numbers[f"on {role}, × its area"] = concentration(mean, moment.names, thing)
    for role, thing in moment.roles.items():
        pooled = None if found.geometry is None else concentration(found.geometry, moment.names, thing)
        numbers[f"3D pooling on {role}, × its area"] = pooled
    return numbers


def _coverage(seen: NDArray[np.bool_], grid: tuple[int, ...]) -> Map:
    """Share of each cell of a grid that is True: (V, H, W) → (V, h, w)."""
    views, height, width = seen.shape
    rows = (np.arange(height) + 0.5) * grid[0] // height
    columns = (np.arange(width) + 0.5) * grid[1] // width
    cells = (rows[:, None] * grid[1] + columns).astype(int).ravel()
    size = grid[0] * grid[1]
    total = np.bincount(cells, minlength=size)
    counts = np.stack([np.bincount(cells, weights=view.ravel(), minlength=size) for view in seen])
    covered: Map = (counts / total).reshape(views, *grid).astype(np.float32)
    return covered


def _sheet(moment: Moment, found: Mapping[str, Attention]) -> Image:
    """The views, and over them the attention of each policy, with its 3D pooling beside it where it has one."""
    columns = [Column("picture", moment.pictures, [""] * len(moment.pictures))]
    for name, maps in found.items():
        columns.append(_column(name, moment, maps.mean))
        if maps.geometry is not None:
            columns.append(_column(f"{name}: 3D pooling", moment, maps.geometry))
    return sheet(list(moment.observation.images), columns)


def _layers_sheet(moment: Moment, maps: Attention) -> Image:
    chosen = np.unique(np.linspace(0, len(maps.layers) - 1, MOST_LAYERS).astype(int))
    columns = [_column(f"layer {layer + 1}", moment, maps.layers[layer]) for layer in chosen]
    return sheet(list(moment.observation.images), columns)


def _column(heading: str, moment: Moment, shares: Map) -> Column:
    """Shares (V, h, w) over the pictures: each view glows from its even share on."""
    drawn, notes = [], []
    for picture, view in zip(moment.pictures, shares, strict=True):
        even = view / view.mean()
        # Single tokens that every query attends to would leave all others dark.
        brightest = max(float(np.quantile(even, BRIGHTEST)), LEAST_BRIGHTEST)
        drawn.append(heat(picture, (even - 1) / (brightest - 1)))
        notes.append(f"{view.sum() / shares.sum():.0%} of both, up to {even.max():.1f} × even")
    return Column(heading, drawn, notes)


def _of_queries(weights_BHLL: Tensor, tokens: Tokens, policy: DeployedPolicy) -> Tensor:
    """Mean over heads and action queries: (B, L)."""
    is_query_BL = torch.isin(tokens.ids_BL, policy.policy.query_ids)
    rows_BLL = weights_BHLL.mean(dim=1)
    return torch.stack([rows[chosen].mean(dim=0) for rows, chosen in zip(rows_BLL, is_query_BL, strict=True)])


def _grid(tokens: Tokens, merge: int) -> tuple[int, int]:
    """Rows and columns of a view's image tokens."""
    assert tokens.grids_N3 is not None, "an observation has images"
    grids = {tuple(grid) for grid in tokens.grids_N3.tolist()}
    assert len(grids) == 1, "all views of an embodiment have one size"
    _, rows, columns = grids.pop()
    return rows // merge, columns // merge


def _patches(shares_P: Tensor, grid: tuple[int, int], merge: int) -> Map:
    """Pooling weights of all patches → (V, rows, columns)."""
    maps: Map = shares_P.float().cpu().numpy().reshape(-1, grid[0] * merge, grid[1] * merge)
    return maps


@contextmanager
def _pooling_weights(pool: Attend | None) -> Iterator[list[Tensor]]:
    """Give a list that holds, after a forward pass inside the context, the weights (B, C, P) of attention pooling."""
    weights: list[Tensor] = []
    if pool is None:
        yield weights
        return

    def record(module: Any, inputs: tuple[Tensor, Tensor]) -> None:
        weights.append(module.weights(*inputs).detach())

    handle = pool.register_forward_pre_hook(record)
    try:
        yield weights
    finally:
        handle.remove()
