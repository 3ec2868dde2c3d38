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
from PIL import Image as PillowImage

from thinkvla.contract import Embodiment
from thinkvla.data.lerobot_writer import write_episodes
from thinkvla.data.question_writer import write_questions
from thinkvla.evaluate.diagnosis import Diagnosis, Picture
from thinkvla.evaluate.report import write_report
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
        self.text += " "
        names = ("src", "href", "xlink:href", "poster", "srcset", "action", "data")
        self.addresses += [value or "" for name, value in attrs if name in names]

    def handle_data(self, data: str) -> None:
        if self.lasttag not in ("style", "script"):
            self.text += data


def make_evaluation(
    folder: Path,
    policy: str = "runs/first/policy",
    first: int = FIRST,
    suite: str = "object",
    perturbation: str | None = None,
    level: int = 0,
) -> Path:
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
        fingerprint=None if policy == "expert" else "feedface",
        suite=suite,
        episodes=tuple(episodes),
        options={"execute": 8, "tasks": [], "first_seed": first, "level": level},
        versions={"thinkvla": "0.1.0", "mujoco": "4.0.0"},
        created="2030-01-01T00:00:00+00:00",
        seconds=3.0,
        perturbation=perturbation,
        level=level,
    ).save(folder)
    return folder


def make_diagnosis(folder: Path, kind: str = "attention") -> Path:
    folder.mkdir(parents=True)
    PillowImage.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "one.png")
    Diagnosis(
        kind=kind,
        explanation="What glows is attended to.",
        policies={"first (R7)": "runs/first/policy"},
        fingerprints={"first (R7)": "feedface"},
        numbers={"first (R7)": {"share on images": 0.4375, "share on text": None}},
        pictures=tuple(Picture("one.png", f"seen <{k}>") for k in range(5)),
        observations=({}, {}),
        options={"suite": "object"},
        versions={"torch": "2.98"},
        created="2030-01-01T00:00:00+00:00",
    ).save(folder)
    return folder


def make_training(folder: Path) -> Path:
    folder.mkdir()
    rows = ({"step": s, "loss": 1 / s, "loss/geometry": 2 / s, "anchor_similarity": 1 - 1 / s} for s in range(1, 30))
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
    """Two policies and the expert on two suites, one of them perturbed; runs, diagnoses and data."""
    root = tmp_path_factory.mktemp("report")
    results = root / "results"
    make_evaluation(results / "first" / "object" / "plain")
    make_evaluation(results / "first" / "object" / "camera-1", perturbation="camera", level=1)
    make_evaluation(results / "first" / "object" / "camera-2", perturbation="camera", level=2)
    make_evaluation(results / "first" / "spatial" / "plain", suite="spatial")
    make_evaluation(results / "plain", policy="runs/plain/policy")
    make_diagnosis(results / "look")
    write_report(
        root / "deep" / "report.html",
        evaluations=[make_evaluation(root / "expert", policy="expert", first=7), results],
        training=[make_training(root / "other"), make_training(root / "plain")],
        dataset=make_dataset(root / "dataset"),
        title="A <small> run",
    )
    return (root / "deep" / "report.html").read_text("utf-8")


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", Links(html).text)


def test_shows_every_section(html: str) -> None:
    for heading in ("Success", "Under perturbations", "Rollouts", "Inside the policies", "Training", "Data"):
        assert heading in Links(html).text
    assert "A <small> run" in Links(html).text


def test_states_rates_episodes_and_seeds(html: str) -> None:
    text = text_of(html)
    assert "Suite first (R7) plain expert object 80.0 % 4/5 37.6–96.4 % 1 more ended in an error" in text
    assert "spatial 80.0 % 4/5 37.6–96.4 % 1 more ended in an error – – all suites 80.0 % 8/10" in text
    assert "Axis and level, all suites together first (R7) plain expert camera 1 80.0 % 4/5" in text
    assert "camera, all levels 80.0 % 8/10 49.0–94.3 % 2 more ended in an error – –" in text
    assert "Not all of these were evaluated on the same episodes" in text
    assert "env_step: <it broke>" in text
    assert "object, camera 2: 6 episodes over 2 tasks, test seeds 1 000 000–1 000 002 for each task" in text
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


def test_shows_the_inside(html: str) -> None:
    text = text_of(html)
    assert "Where the action queries look object, 2 observations What glows is attended to." in text
    assert "share on images 0.44 share on text –" in text
    assert Links(html).text.count("seen <") == 5
    assert sum(address.startswith("data:image/png") for address in Links(html).addresses) >= 5
    assert "Reasoning gap over training" in text
    assert html.count("Anchor under both prompts, cosine over training steps") == 1, "not among the other curves again"


def test_runs_lie_over_each_other(html: str) -> None:
    assert html.count('aria-label="Total loss over training steps"') == 1
    drawing = html[html.index('aria-label="Total loss over training steps"') :]
    drawing = drawing[: drawing.index("</svg>")]
    assert "var(--series-2)" in drawing, "the run of a policy that is shown has that policy's colour"
    assert "var(--series-4)" in drawing, "another run has a colour of its own"
    assert "var(--series-1)" not in drawing
    assert "Training of other" in text_of(html)
    assert "Training of plain" in text_of(html)


def test_names_what_is_absent(html: str, tmp_path: Path) -> None:
    text = text_of(html)
    for command in ("thinkvla eval CHECKPOINT --qa", "thinkvla diagnose geometry", "thinkvla diagnose gap"):
        assert command in text
    for command in ("--training", "thinkvla diagnose attention", "--videos", "--perturbations"):
        assert command not in text
    write_report(tmp_path / "nothing.html", evaluations=[], title="T")
    text = text_of((tmp_path / "nothing.html").read_text("utf-8"))
    for command in (
        "thinkvla eval CHECKPOINT",
        "thinkvla grid",
        "thinkvla diagnose attention",
        "--training",
        "--dataset",
    ):
        assert command in text


def test_loads_nothing(html: str) -> None:
    page = Links(html)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_videos_inside_play_everywhere(html: str) -> None:
    videos = [a for a in Links(html).addresses if a.startswith("data:video/mp4;base64,")]
    assert len(videos) == 8, "a success and a failure of each policy on each of its suites"
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
    write_report(output, evaluations=[make_evaluation(tmp_path / "e")], title="T")
    html = output.read_text("utf-8")
    assert "Suite first object 80.0 %" in text_of(html)
    assert "all suites" not in text_of(html)
    for section in ("perturbations", "inside", "training", "data"):
        assert f'id="{section}"' not in html


def test_only_a_diagnosis(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", evaluations=[make_diagnosis(tmp_path / "gap", "gap")], title="T")
    html = (tmp_path / "r.html").read_text("utf-8")
    assert "Reasoning gap object, 2 observations" in text_of(html)
    assert 'id="success"' not in html


def test_missing_folders_are_named(tmp_path: Path) -> None:
    nowhere, empty = tmp_path / "nowhere", tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="nowhere does not exist"):
        write_report(tmp_path / "r.html", evaluations=[nowhere], title="T")
    with pytest.raises(ValueError, match=r"empty: there are no results in it or below \(results\.json"):
        write_report(tmp_path / "r.html", evaluations=[empty], title="T")
    with pytest.raises(ValueError, match="nowhere"):
        write_report(tmp_path / "r.html", evaluations=[], training=[nowhere], title="T")
    with pytest.raises(ValueError, match="nowhere"):
        write_report(tmp_path / "r.html", evaluations=[], dataset=nowhere, title="T")
    assert not (tmp_path / "r.html").exists()
