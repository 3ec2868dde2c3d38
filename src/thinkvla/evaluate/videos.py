"""Videos of chosen episodes, made after the evaluation by replaying the actions that were recorded.

The world is deterministic, so a replay shows exactly what happened. Episodes can thus be chosen by how they ended and
filmed larger than the policy saw them, and an evaluation without videos pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from thinkvla.contract import Actions, Image
from thinkvla.evaluate.results import Episode
from thinkvla.tabletop.embodiment import TABLETOP
from thinkvla.tabletop.world import World

SIZE = (192, 192)
"""Height and width at which each view is filmed, pixels."""
GAP = 8


def choose(episodes: Iterable[Episode], count: int) -> list[Episode]:
    """At most ``count`` episodes that ran: failures and successes in turn, and of different tasks where possible."""
    ran = [episode for episode in episodes if episode.success is not None]
    queues = [_spread([e for e in ran if e.success is outcome]) for outcome in (True, False)]
    chosen: list[Episode] = []
    while len(chosen) < count and any(queues):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return chosen


def _spread(episodes: Sequence[Episode]) -> list[Episode]:
    """The episodes reordered so that each task comes once before any comes twice."""
    seen: dict[str, int] = {}
    turns = []
    for episode in episodes:
        seen[episode.task] = seen.get(episode.task, 0) + 1
        turns.append(seen[episode.task])
    return [episodes[i] for i in np.argsort(turns, kind="stable")]


def replay(world: World, episode: Episode, actions: Actions, path: Path) -> None:
    """Replay one episode and write both views side by side as an mp4.

    Args:
        world: a World of the episode's task, perturbed as it was; its image size is the video's.
        episode: the episode.
        actions: float32 (steps, 7), as they were executed.
        path: the file to write.

    Raises RuntimeError when the replay ends differently: the world would not be deterministic.
    """
    world.reset(episode.seed)
    frames = [_views(world)]
    for action in actions:
        world.step(action)
        frames.append(_views(world))
    require_same_end(episode, world.succeeded())
    write_video(path, frames, fps=round(TABLETOP.control_hz))


def _views(world: World) -> Image:
    """The world's two views as its cameras' sensors give them."""
    front, wrist = world.observe().images.values()
    return beside(front, wrist)


def require_same_end(episode: Episode, success: bool) -> None:
    """Raise RuntimeError when an episode's replay ended differently: the world would not be deterministic."""
    if success is not episode.success:
        raise RuntimeError(
            f"replay of task '{episode.task}', seed {episode.seed} ended with success={success}, but the evaluation "
            f"recorded {episode.success}; the world is not deterministic"
        )


def beside(left: Image, right: Image) -> Image:
    """(H, 2·W + GAP, 3) two pictures (H, W, 3) with a gap between."""
    return np.concatenate([left, np.full((len(left), GAP, 3), 24, np.uint8), right], axis=1)


def write_video(path: Path, frames: Sequence[Image], fps: int) -> None:
    """Write (H, W, 3) uint8 frames, sides even, as h264 in yuv420p, which every browser plays."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "veryfast", "threads": "1"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
