"""The geometry teacher inside the training step: what it was to be asked becomes what it says."""

from __future__ import annotations

from dataclasses import replace

import torch

from thinkvla.method.batch import RobotBatch
from thinkvla.teachers.protocol import GeometryTeacher
from thinkvla.train.precision import matrix_products


def with_features(batch: RobotBatch, teacher: GeometryTeacher | None, device: torch.device) -> RobotBatch:
    """The batch with the teacher's features where the data stream put its inputs; the batch itself without a teacher.

    Computed on ``device`` with exact matrix products, so that they are what a cache would hold.
    """
    if teacher is None or batch.geometry_BVhwG is None:
        return batch
    with matrix_products(rounded=False):
        features = teacher.features(batch.geometry_BVhwG.to(device))
    return replace(batch, geometry_BVhwG=features.clone())  # as a tensor that a loss may use
