"""Figures that others have published, with their sources, and what of them our evaluations can be held against.

The paper's are of 3DThinkVLA (arXiv 2606.04436). "Best public" is, for each benchmark, the policy with the highest
published average among those trained as the benchmark has it (LIBERO-Plus: on LIBERO's demonstrations alone) and acting
on their own; its figures of all suites are shown. They were found in the leaderboard of vla-eval as of 14 April 2026.
Averages agree with the abstracts of SRPO and ACoT-VLA and, for X-VLA, with vla-eval's own run of it (94.8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PAPER = "https://arxiv.org/abs/2606.04436"
PAPER_PARAMETERS = 2_100_000_000
"""Of the paper's policy, which stands on Qwen3-VL-2B."""


@dataclass(frozen=True)
class Best:
    """A policy of others: its name, its publication, and what to know of it."""

    name: str
    url: str
    remark: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a benchmark.

    Attributes:
        suite: as result files call it; empty for all lines of the benchmark together.
        title: what the page calls it.
        paper: success in percent; None where the paper has none.
        best: the same of the best public policy.
        episodes: episodes that stand behind such a figure; None where that is not published.
        task: the one task of the suite that is meant; none means all.
        obstacle: what keeps the row from being filled on any machine; usually nothing.
    """

    suite: str
    title: str
    paper: float | None = None
    best: float | None = None
    episodes: int | None = None
    task: str = ""
    obstacle: str = ""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as the page shows it.

    Attributes:
        names: as result files call it; one for each suite where suites are benchmarks of their own.
        title: heading of its part of the page.
        recipes: how the names of the recipes begin whose policies belong here.
        about: what is evaluated, in a sentence or two.
        rows: its suites or tasks, then all together where there is such a figure.
        train: commands that make the policy. To be filled in: ``{suite}``, ``{method}``, a row of the ablation table in
            lower case, and ``{suffix}``, the same after an underscore, or nothing for the full method.
        policy: folder of that policy, likewise.
        evaluate: options of ``thinkvla eval`` that make a row, likewise; a row with a result shows its own.
        best: whose figures ``best`` of the rows are.
        apart: why no figure of others can be held against ours here, whatever the policy; empty where it can.
        missing: why rows may have no result of ours.
    """

    names: tuple[str, ...]
    title: str
    recipes: str
    about: str
    rows: tuple[Row, ...]
    train: tuple[str, ...]
    policy: str
    evaluate: str
    best: Best | None = None
    apart: str = ""
    missing: str = "not evaluated yet"


_LIBERO_ROWS = (
    Row("libero_spatial", "spatial", 100.0, 98.8, 500),
    Row("libero_object", "object", 100.0, 100.0, 500),
    Row("libero_goal", "goal", 98.8, 99.4, 500),
    Row("libero_10", "long (libero_10)", 95.8, 98.6, 500),
)
LIBERO = Benchmark(
    names=tuple(row.suite for row in _LIBERO_ROWS),
    title="LIBERO",
    recipes="libero",
    about="Four suites of ten tasks. Published figures are taken as of 50 episodes a task, the field's protocol.",
    rows=(*_LIBERO_ROWS, Row("", "all four", 98.7, 99.2, 2000)),
    train=(
        "thinkvla data generate --benchmark {suite} --output data/{suite} --episodes 20",
        "thinkvla train libero_small{suffix} --data.episodes data/{suite}/episodes "
        "--data.spatial-qa data/{suite}/spatial_qa --data.general-qa data/{suite}/general_qa "
        "--output runs/{suite}{suffix}",
    ),
    policy="runs/{suite}{suffix}/policy",
    evaluate="--benchmark {suite}",
    best=Best("SRPO", "https://arxiv.org/abs/2511.15605", "OpenVLA-OFT, trained further in the simulator by rewards"),
)

_ARCHIVE = "needs the benchmark's archive of 6.4 GB"
_PLUS_ROWS = (
    Row("libero_plus_camera", "camera", 73.8, 91.2, 1599),
    Row("libero_plus_robot", "robot start", 64.5, 62.5, 1550),
    Row("libero_plus_language", "language", 78.0, 80.3, 1537),
    Row("libero_plus_light", "light", 98.4, 95.1, 1142, obstacle=_ARCHIVE),
    Row("libero_plus_background", "background", 94.8, 91.5, 1076, obstacle=f"1014 of 1076 tasks: {_ARCHIVE}"),
    Row("libero_plus_noise", "noise", 84.7, 88.3, 1601),
    Row("libero_plus_layout", "layout", 81.5, 84.9, 1525, obstacle=f"829 of 1525 tasks: {_ARCHIVE}"),
)
LIBERO_PLUS = Benchmark(
    names=tuple(row.suite for row in _PLUS_ROWS),
    title="LIBERO-Plus",
    recipes="libero",
    about="10 030 changed tasks of LIBERO, one episode each, for policies that saw LIBERO's demonstrations alone.",
    rows=(*_PLUS_ROWS, Row("", "all seven", 81.0, 84.1, 10030, obstacle=_ARCHIVE)),
    train=("thinkvla train libero_small{suffix}",),
    policy="runs/libero_small{suffix}/policy",
    evaluate="--benchmark {suite}",
    best=Best("ACoT-VLA", "https://arxiv.org/abs/2601.11404"),
)

SIMPLER = Benchmark(
    names=("simpler_widowx",),
    title="SimplerEnv, WidowX, on ManiSkill3",
    recipes="bridge",
    about="Four tasks, 24 layouts each, for policies trained on the Bridge demonstrations.",
    rows=(
        Row("simpler_widowx", "carrot on plate", 75.0, 91.7, 24, "carrot"),
        Row("simpler_widowx", "eggplant in basket", 95.8, 95.8, 24, "eggplant"),
        Row("simpler_widowx", "spoon on towel", 87.5, 100.0, 24, "spoon"),
        Row("simpler_widowx", "green block on yellow block", 33.3, 95.8, 24, "stack"),
        Row("", "all four", 72.9, 95.8, 96),
    ),
    train=("thinkvla train bridge",),
    policy="runs/bridge/policy",
    evaluate="--benchmark simpler_widowx --assets ASSETS",
    best=Best("X-VLA", "https://arxiv.org/abs/2510.10274", "up to 1200 steps an episode; 94.8 when vla-eval ran it"),
    apart="ManiSkill3's tasks, not the original SimplerEnv that published figures are of",
    missing="no policy trained on Bridge yet",
)
SIMPLER_ORIGINAL = replace(
    SIMPLER,
    names=("simpler_widowx_original",),
    title="SimplerEnv, WidowX, the original",
    about="The same four tasks in the simulator that published figures are of.",
    evaluate="--benchmark simpler_widowx_original",
    apart="",
    missing="no policy trained on Bridge yet, and its user completes the environment",
)

REAL_ARM = Benchmark(
    names=("tabletop",),
    title="The paper's real-arm tasks, on tabletop",
    recipes="real",
    about="100 demonstrations of each task of the suites height, transparent and spatial, 50 episodes a variant. "
    "height_heldout has heights that no demonstration had.",
    rows=(
        Row("height", "height variation", 88.0),
        Row("height_heldout", "height variation, held-out heights"),
        Row("transparent", "transparent container", 93.3),
        Row("spatial", "spatial position", 61.3),
    ),
    train=(
        "thinkvla data generate --output data/real_arm --suites height transparent spatial --per-task 100",
        "thinkvla train real_{method}",
    ),
    policy="runs/real_{method}/policy",
    evaluate="--suite {suite} --episodes 5 --execute 2",
    apart="a simulated counterpart, not the paper's real arm",
)

TABLETOP = Benchmark(
    names=("tabletop",),
    title="Tabletop, the embedded world",
    recipes="tabletop",
    about="Ten tasks a suite; demonstrations of object, spatial, height and transparent. No figures of others exist.",
    rows=(
        Row("object", "object"),
        Row("spatial", "spatial"),
        Row("height", "height"),
        Row("height_heldout", "height, held-out heights"),
        Row("transparent", "transparent"),
    ),
    train=(
        "thinkvla data generate --output data/tabletop --suites object spatial height transparent --episodes 3200 "
        "--questions 3000",
        "thinkvla train tabletop_{method}",
    ),
    policy="runs/tabletop{suffix}/policy",
    evaluate="--suite {suite} --episodes 10 --execute 2",
)

BENCHMARKS = (LIBERO, LIBERO_PLUS, SIMPLER, SIMPLER_ORIGINAL, REAL_ARM, TABLETOP)
"""In the order of the page."""
