"""Questions about one camera view, answered from ground truth: 3D with a chain of thought, and plain 2D.

``spatial_rows`` gives SpatialReasoner-style multiple-choice rows whose answers reason over 3D locations and
directions; ``general_rows`` gives picture-only rows (names, counts, places in the picture) with nothing
metric in them. Both read only :mod:`thinkvla.tabletop.state`, and both are deterministic in the generator
they are given.
"""

from thinkvla.tabletop.questions.general import GeneralRow, general_rows
from thinkvla.tabletop.questions.spatial import LabelledBox, LabelledDirection, SpatialRow, spatial_rows

__all__ = ["GeneralRow", "LabelledBox", "LabelledDirection", "SpatialRow", "general_rows", "spatial_rows"]
