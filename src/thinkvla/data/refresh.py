"""Computing the statistics of a data set that was edited, or that came without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from thinkvla.data import lerobot_layout as layout
from thinkvla.data.embodiments import EmbodimentSpec
from thinkvla.data.frames import decode_file, frame_files
from thinkvla.data.lerobot_writer import SCALARS, new_gatherers, write_statistics
from thinkvla.data.recording import action_array, open_recording, read_table
from thinkvla.data.stored_statistics import measure_statistics
from thinkvla.progress import progress


def refresh_statistics(path: Path, spec: EmbodimentSpec | None = None) -> None:
    """Compute the statistics of the data set ``path`` from its tables and videos; record what they came from.

    A data set of ours gets ``meta/stats.json``. One that is read by ``spec`` keeps its ``meta/`` as it is: the
    statistics of its actions go to ``.cache``.

    Raises:
        ValueError: a table or a video is missing or broken.
    """
    recording = open_recording(path, spec)
    table = read_table(recording)
    actions = action_array(recording, table)
    if spec is not None:
        measure_statistics(recording, actions, path / ".cache")
        return
    gatherers = new_gatherers(recording.embodiment)
    gatherers["action"].add(actions)
    for name in SCALARS:
        gatherers[name].add(np.asarray(table[name]))
    with progress("frame") as display:
        task = display.add_task("statistics of images", total=len(actions) * len(recording.cameras))
        for camera in recording.cameras:
            for file in frame_files(recording, camera):
                for _, image in decode_file(recording, file):
                    gatherers[layout.video_key(camera)].add(image[None])
                    display.advance(task)
    write_statistics(path, gatherers, actions)
