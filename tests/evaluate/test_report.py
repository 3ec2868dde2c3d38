from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from thinkvla.contract import Embodiment
from thinkvla.data.lerobot_writer import write_episodes
from thinkvla.data.spatial_qa import write_questions
from thinkvla.evaluate.report import seed_ranges, write_report
from thinkvla.evaluate.results import Episode, EvaluationResult
from thinkvla.evaluate.videos import write_video
from thinkvla.tabletop.seeds import seeds

FIRST = seeds("test").start
OUTCOMES = {"red_cube": (True, False, None), "blue_ball": (True, True, True)}
ROBOT = Embodiment(
    name="small",
    cameras=("front", "wrist"),
    image_size=(32, 32),
    control_hz=10.0,
    action_names=("x",),
    action_units=("1 m",),
    action_low=(-1.0,),
    action_high=(1.0,),
)


class Links(HTMLParser):
    """Every address the page names, and the text it shows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        names = ("src", "href", "xlink:href", "poster", "srcset", "action", "data")
        self.addresses += [value or "" for name, value in attrs if name in names]

    def handle_data(self, data: str) -> None:
        if self.lasttag not in ("style", "script"):
            self.text += data


def make_evaluation(folder: Path, policy: str = "runs/first/checkpoint", first: int = FIRST) -> Path:
    episodes = [
        Episode(
            task, f"put the {task} away", first + k, ok, 30 + k, 2.0, "env_step: <it broke>" if ok is None else None
        )
        for task, outcomes in OUTCOMES.items()
        for k, ok in enumerate(outcomes)
    ]
    (folder / "videos").mkdir(parents=True)
    for episode in episodes[:2]:
        frames = [np.full((32, 64, 3), 20 * i, np.uint8) for i in range(5)]
        write_video(folder / "videos" / episode.video_name, frames, fps=10)
    EvaluationResult(
        policy=policy,
        fingerprint="feedface",
        suite="object",
        episodes=tuple(episodes),
        options={"execute": 8, "tasks": [], "first_seed": first},
        versions={"thinkvla": "0.1.0", "mujoco": "4.0.0"},
        created="2030-01-01T00:00:00+00:00",
        seconds=3.0,
    ).save(folder)
    return folder


def make_training(folder: Path) -> Path:
    folder.mkdir()
    rows = ({"step": s, "time": s, "loss": 1 / s, "loss/geometry": 2 / s} for s in range(1, 30))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.json").write_text('{"method": {"chunk": 8}, "steps": 4000}')
    (folder / "versions.json").write_text('{"torch": "2.99"}')
    return folder


def make_dataset(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    with write_episodes(folder / "episodes", ROBOT) as writer:
        for instruction in ("put the cube away", "put the ball away"):
            images = {camera: rng.integers(0, 255, (6, 32, 32, 3), np.uint8) for camera in ROBOT.cameras}
            writer.add_episode(images, np.zeros((6, 1), np.float32), instruction)
    image = np.zeros((32, 32, 3), np.uint8)
    spatial: dict[str, Any] = {
        "question": "Which is higher?",
        "A": "cube",
        "B": "ball",
        "C": None,
        "D": None,
        "answer": "A",
        "answer_name": "cube",
        "answer_cot": "The cube is at 0.30. Therefore, the final answer is A.",
        "category": "height_higher",
        "bounding_box": [],
        "direction": [],
    }
    with write_questions(folder / "spatial_qa") as questions:
        questions.add_spatial(image, [spatial])
    with write_questions(folder / "general_qa") as questions:
        questions.add_general(image, [{"question": "What is red?", "answer": "The cube.", "category": "colour"}])
    return folder


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("report")
    write_report(
        root / "deep" / "report.html",
        evaluations=[make_evaluation(root / "first"), make_evaluation(root / "second", policy="expert", first=7)],
        training=make_training(root / "training"),
        dataset=make_dataset(root / "dataset"),
        title="A <small> run",
    )
    return (root / "deep" / "report.html").read_text("utf-8")


def test_shows_every_section(html: str) -> None:
    text = Links(html).text
    for heading in ("Success", "Rollouts", "Training", "Data", "Configuration and versions", "All evaluations"):
        assert heading in text
    assert "A <small> run" in text


def test_states_rates_episodes_and_seeds(html: str) -> None:
    text = re.sub(r"\s+", " ", Links(html).text)
    assert "80.0 %" in text
    assert "4 of 5 episodes" in text
    assert "95 % interval 37.6–96.4 %" in text
    assert "1 more ended in an error" in text
    assert "env_step: <it broke>" in text
    assert "6 episodes over 2 tasks, test seeds 1 000 000–1 000 002 for each task." in text
    assert "training seeds 7–9" in text
    assert "put the red_cube away" in text


def test_shows_configuration_versions_and_samples(html: str) -> None:
    text = Links(html).text
    for words in (
        "feedface",
        "4.0.0",
        "method.chunk",
        "2.99",
        "Geometry loss",
        "put the ball away",
        "Which is higher?\nA. cube\nB. ball",
        "Therefore, the final answer is A.",
        "What is red?",
        "The cube.",
    ):
        assert words in text


def test_loads_nothing(html: str) -> None:
    page = Links(html)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_videos_inside_play_everywhere(html: str) -> None:
    videos = [a for a in Links(html).addresses if a.startswith("data:video/mp4;base64,")]
    assert len(videos) == 4
    with av.open(io.BytesIO(base64.b64decode(videos[0].partition(",")[2]))) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert sum(1 for _ in container.decode(video=0)) == 5


def test_anchors_exist(html: str) -> None:
    for address in Links(html).addresses:
        if address.startswith("#"):
            assert f'id="{address[1:]}"' in html


def test_only_an_evaluation(tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    write_report(output, evaluations=[make_evaluation(tmp_path / "e")], training=None, dataset=None, title="T")
    text = Links(output.read_text("utf-8")).text
    assert "Success" in text
    assert "All evaluations" not in text
    assert "Training" not in text


def test_missing_folders_are_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ValueError, match="nowhere"):
        write_report(tmp_path / "r.html", evaluations=[nowhere], training=None, dataset=None, title="T")
    with pytest.raises(ValueError, match="nowhere"):
        write_report(tmp_path / "r.html", evaluations=[], training=nowhere, dataset=None, title="T")
    with pytest.raises(ValueError, match="nowhere"):
        write_report(tmp_path / "r.html", evaluations=[], training=None, dataset=nowhere, title="T")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([3], "3"), ([5, 3, 4, 3], "3–5"), ([1, 2, 9], "1–2, 9"), ([1_000_000, 1_000_001], "1 000 000–1 000 001")],
)
def test_seed_ranges(numbers: list[int], words: str) -> None:
    assert seed_ranges(numbers).replace("\u202f", " ") == words
