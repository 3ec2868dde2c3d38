"""The tiny geometry teacher's pre-training: views are true, losses are what they say, and a run leaves a teacher."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from thinkvla.pretrain.geometry import Readout, Told, geometry_losses, pretrain_geometry
from thinkvla.pretrain.loop import PretrainConfig
from thinkvla.pretrain.measure import measure_geometry, ridge, rotation_from
from thinkvla.pretrain.scenes import MOMENTS, Scene, visit
from thinkvla.pretrain.views import STRIDE, ViewBatch, ViewBatches, read_views, view_batch, write_views
from thinkvla.tabletop.seeds import seeds
from thinkvla.teachers.aggregator import AggregatorConfig
from thinkvla.teachers.vggt import VggtTeacher

SCENES = 4
SMALL = AggregatorConfig(image_size=96, patch_size=24, width=16, heads=1, depth=1, encoder_depth=1, registers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views") / "views"
    write_views(path, ["object", "height"], SCENES, workers=1)
    return path


@pytest.fixture(scope="module")
def batch(folder: Path) -> ViewBatch:
    return view_batch(read_views(folder), range(SCENES * MOMENTS))


def test_views_are_those_of_the_scene_and_points_lie_behind_their_pixels(folder: Path) -> None:
    views = read_views(folder)
    scene = Scene("object", 0, seeds("training")[50_000])
    for moment, (world, _) in enumerate(visit(scene)):
        for number, camera in enumerate(world.state().cameras):
            np.testing.assert_array_equal(views.images[moment, number], world.render(camera.name, camera.size))
            points = views.points[moment, number].astype(float)
            rows, columns = np.mgrid[: points.shape[0], : points.shape[1]] * STRIDE + STRIDE / 2
            pixels = camera.project(points)
            seen = ~np.isnan(pixels[..., 2])
            assert seen.mean() > 0.5
            off = np.abs(pixels[..., :2] - np.stack([columns, rows], axis=-1))[seen]
            assert off.max() < 1.0  # pixels; float16 has half a millimetre
            depths = view_batch(views, [moment]).depths_BVhw[0, number].numpy()
            np.testing.assert_allclose(depths[seen], pixels[..., 2][seen], rtol=1e-4)


def test_points_and_cameras_are_in_the_first_cameras_frame(batch: ViewBatch) -> None:
    torch.testing.assert_close(
        batch.rotations_BV33[:, 0], torch.eye(3).expand(SCENES * MOMENTS, 3, 3), atol=1e-5, rtol=0
    )
    assert batch.positions_BV3[:, 0].abs().max() == 0
    # In the first view, and in any view once its camera is undone, the third coordinate is the depth.
    local = torch.einsum(
        "bvhwi,bvij->bvhwj", batch.points_BVhw3 - batch.positions_BV3[:, :, None, None], batch.rotations_BV33
    )
    torch.testing.assert_close(local[..., 2], batch.depths_BVhw, atol=1e-4, rtol=0, equal_nan=True)
    # The wrist's camera hangs within the front one's sight, so both see the same table.
    assert (batch.positions_BV3[:, 1, 2] > 0.5).all()
    assert 0.02 < batch.off_table_BVhw.float().mean() < 0.9


def truth(batch: ViewBatch) -> Told:
    return Told(
        batch.points_BVhw3.nan_to_num(),
        batch.depths_BVhw.nan_to_num(1.0).log(),
        batch.rotations_BV33[..., :2],
        batch.positions_BV3,
    )


def test_losses_by_hand(batch: ViewBatch) -> None:
    told = truth(batch)
    assert all(float(value) == pytest.approx(0, abs=1e-6) for value in geometry_losses(told, batch).values())
    shift = torch.tensor([0.03, 0.0, 0.04])
    wrong = Told(
        told.points_BVhw3 + shift,
        told.log_depths_BVhw + 0.1,
        told.columns_BV32 + 0.2,
        told.positions_BV3 - 0.3,
    )
    found = {name: float(value) for name, value in geometry_losses(wrong, batch).items()}
    expected = {"points": 0.05, "depth": 0.1, "edges": 0.0, "rotation": 0.2, "position": 0.3}
    assert found == pytest.approx(expected, abs=1e-5)
    # A step between two columns is an edge in every row that shows something on both sides.
    step = told.log_depths_BVhw.clone()
    step[..., 16:] += 0.5
    weight = torch.where(batch.off_table_BVhw, 1.0, 0.2) * ~batch.depths_BVhw.isnan()
    pairs = torch.maximum(weight[..., :-1], weight[..., 1:]) * ((weight[..., :-1] > 0) & (weight[..., 1:] > 0))
    edges = float(geometry_losses(replace(told, log_depths_BVhw=step), batch)["edges"])
    assert edges == pytest.approx(0.5 * float(pairs[..., 15].sum() / pairs.sum()), rel=1e-4)


def test_what_is_not_seen_does_not_count(batch: ViewBatch) -> None:
    points, depths = batch.points_BVhw3.clone(), batch.depths_BVhw.clone()
    points[:, 0, :8], depths[:, 0, :8] = torch.nan, torch.nan
    some = replace(batch, points_BVhw3=points, depths_BVhw=depths)
    told = truth(batch)
    far = told.points_BVhw3.clone().requires_grad_()
    losses = geometry_losses(replace(told, points_BVhw3=far * 2), some)
    torch.stack(list(losses.values())).sum().backward()
    assert far.grad is not None
    assert far.grad[:, 0, :8].abs().max() == 0
    assert far.grad.isfinite().all()


def test_cells_of_a_patch_stand_where_it_stands() -> None:
    readout = Readout(6, 2)
    tokens = torch.randn(1, 2, 1 + 2 * 3, 6)
    told = readout(tokens, 1, (2, 3))
    assert told.points_BVhw3.shape == (1, 2, 4, 6, 3)
    patch = readout.patch(tokens[0, 1, 1 + 1 * 3 + 2]).view(2, 2, 4)  # second row, third column
    torch.testing.assert_close(told.points_BVhw3[0, 1, 2:, 4:], patch[..., :3])
    torch.testing.assert_close(told.log_depths_BVhw[0, 1, 2:, 4:], patch[..., 3])


def test_held_out_scenes_are_not_trained_on(folder: Path) -> None:
    training, held_out = (ViewBatches(folder, batch_size=3, seed=0, length=4, held_out=held) for held in (False, True))
    assert list(held_out.moments) == [6, 7]
    assert list(training.moments) == list(range(6))
    assert torch.equal(training[2].images_BVHW3, training[2].images_BVHW3)


def test_incomplete_views_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"images\.npy is missing"):
        read_views(tmp_path)
    for name, count in (("images.npy", 2), ("points.npy", 2), ("cameras.npy", 1)):
        np.save(tmp_path / name, np.load(folder / name)[:count])
    with pytest.raises(ValueError, match="2 images, 2 point maps, 1 cameras"):
        read_views(tmp_path)
    np.save(tmp_path / "cameras.npy", np.load(folder / "cameras.npy")[:2])
    with pytest.raises(ValueError, match="1 scene is too few"):
        ViewBatches(tmp_path, batch_size=1, seed=0, length=1)
    config = PretrainConfig(folder, tmp_path / "run", steps=2)
    with pytest.raises(ValueError, match=r"views of 96×96 px with \(32, 32\) points do not fit 3 patches of 32 px"):
        pretrain_geometry(config, replace(SMALL, patch_size=32))


def test_a_run_leaves_a_teacher_and_its_figures(folder: Path, tmp_path: Path) -> None:
    config = PretrainConfig(
        folder, tmp_path / "run", steps=30, batch_size=4, warmup_steps=5, peak_lr=5e-3, save_every=15, workers=0
    )
    made = pretrain_geometry(config, SMALL)
    rows = [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss/points"] < 0.5 * rows[-1]["held_out/points"] + 0.3
    results = json.loads(measure_geometry(config, made, SMALL).read_text())
    assert results["moments"] == {"trained": 6, "held_out": 2, "probe": 6}
    assert 0 < results["errors"]["points_cm/front/things"] < 100
    assert results["errors"]["camera_degrees"] > 0
    assert set(results["probe"]) == {"trained", "untrained", "place"}
    teacher = VggtTeacher(made, (96, 96))
    assert (teacher.grid, teacher.dim) == ((4, 4), 32)
    images = torch.from_numpy(read_views(folder).images[:1].copy())
    assert teacher.features(images).isfinite().all()


def test_ridge_finds_a_linear_map() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(500, 6, generator=generator) * torch.tensor([1.0, 10.0, 0.1, 1.0, 1.0, 0.0]) + 3
    weights = torch.randn(6, 2, generator=generator)
    read = ridge(features, features @ weights + 1)
    torch.testing.assert_close(read(features).float(), features @ weights + 1, atol=0.1, rtol=0)


def test_rotations_are_read_from_scaled_skewed_columns() -> None:
    rotation = torch.linalg.qr(torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(0)).double())[0]
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]
    columns = rotation[..., :2] * torch.tensor([2.0, 0.5])
    columns[..., 1] += 0.3 * columns[..., 0]
    torch.testing.assert_close(rotation_from(columns), rotation)
