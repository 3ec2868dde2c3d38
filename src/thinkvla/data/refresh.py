"""Computing the statistics of a data set that was edited, or that came without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from thinkvla.data import lerobot_layout as layout
from thinkvla.data.frame_cache import by_video, decode_episodes
from thinkvla.data.lerobot_reader import action_array, read_table
from thinkvla.data.lerobot_writer import SCALARS, new_gatherers, write_statistics
from thinkvla.progress import progress


def refresh_statistics(path: Path) -> None:
    """Compute ``meta/stats.json`` of the data set ``path`` from its tables and videos; record the source.

    Raises:
        ValueError: a table or a video is missing or broken.
    """
    info = layout.read_info(path)
    embodiment = layout.read_embodiment(path, info)
    episodes = layout.read_episodes(path, info, embodiment.cameras)
    table = read_table(path)
    actions = action_array(table, embodiment.action_dim, path)
    gatherers = new_gatherers(embodiment)
    gatherers["action"].add(actions)
    for name in SCALARS:
        gatherers[name].add(np.asarray(table[name]))
    with progress("frame") as display:
        task = display.add_task("statistics of images", total=len(actions) * len(embodiment.cameras))
        for camera in embodiment.cameras:
            for video, members in by_video(episodes, camera).items():
                shape = (*embodiment.image_size, 3)
                for _, image in decode_episodes(path / video, members, camera, info["fps"], shape):
                    gatherers[layout.video_key(camera)].add(image[None])
                    display.advance(task)
    write_statistics(path, gatherers, actions)
