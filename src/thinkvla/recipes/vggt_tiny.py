"""How the tiny geometry teacher was pre-trained: ``python -m thinkvla.recipes.vggt_tiny FOLDER``.

7000 training scenes of the suites object, spatial, height and transparent, two moments each: 14 000 pairs of front and
wrist view with the true points behind them. The finished teacher is ``FOLDER/run/vggt_tiny``, laid out as a published
VGGT; errors and probes on held-out scenes are in ``FOLDER/run/results.json``. A run that was stopped goes on when
started again. Needs the ``tabletop`` extra.
"""

from __future__ import annotations

import sys
from pathlib import Path

from thinkvla.pretrain.geometry import TINY_VGGT, pretrain_geometry
from thinkvla.pretrain.loop import PretrainConfig
from thinkvla.pretrain.measure import measure_geometry
from thinkvla.pretrain.views import write_views

SUITES = ("object", "spatial", "height", "transparent")
SCENES = 7000
STEPS = 4000


def vggt_tiny(folder: Path) -> PretrainConfig:
    """The run that made the shipped teacher, in ``folder``."""
    return PretrainConfig(pictures=folder / "views", output=folder / "run", steps=STEPS, workers=0)


def main(folder: Path) -> Path:
    """Make the views unless they are there, train, measure, and return the teacher's folder."""
    config = vggt_tiny(folder)
    if not config.pictures.exists():
        write_views(config.pictures, SUITES, SCENES, workers=1)
    teacher = pretrain_geometry(config)
    print(measure_geometry(config, teacher, TINY_VGGT).read_text(encoding="utf-8"))
    return teacher


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
