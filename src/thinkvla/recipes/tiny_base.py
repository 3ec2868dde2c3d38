"""How the tiny backbone was pre-trained: ``python -m thinkvla.recipes.tiny_base FOLDER``.

7000 training scenes of the suites object, spatial, height and transparent, two moments each, both views: 28 000
pictures, asked about and labelled patch by patch in 2D (``thinkvla.pretrain``). The finished backbone is
``FOLDER/run/base``; the one that ships as ``thinkvla/backbones/tiny_base`` was made so, and its card has the figures. A
run that was stopped goes on when started again. Needs the ``tabletop`` extra.
"""

from __future__ import annotations

import sys
from pathlib import Path

from thinkvla.pretrain.backbone import BackbonePretrainConfig, pretrain_backbone
from thinkvla.pretrain.pictures import write_pictures

SUITES = ("object", "spatial", "height", "transparent")
SCENES = 7000
STEPS = 2800


def tiny_base(folder: Path) -> BackbonePretrainConfig:
    """The run that made the shipped backbone, in ``folder``."""
    return BackbonePretrainConfig(pictures=folder / "pictures", output=folder / "run", steps=STEPS)


def main(folder: Path) -> Path:
    """Make the pictures unless they are there, train, and return the backbone's folder."""
    config = tiny_base(folder)
    if not config.pictures.exists():
        write_pictures(config.pictures, SUITES, SCENES, workers=2)
    return pretrain_backbone(config)


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
