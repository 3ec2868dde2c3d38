"""``thinkvla results``: the page of all figures, from the kept files and what others have published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from thinkvla.files import new_file
from thinkvla.results.kept import EXPLICIT, Kept, KeptEvaluation, KeptPolicy, load_all
from thinkvla.results.published import BENCHMARKS, PAPER, PAPER_PARAMETERS, Benchmark, Row
from thinkvla.results.verdict import Share, difference, verdict

FULL = "R7"
METHODS = (FULL, "R6", "R5", "R4", "R3", "R2", "R1", EXPLICIT)
"""The full method first: a row shows the first of these that has a result."""
NONE = "–"
NOT_RECORDED = "not recorded"

_HEAD = f"""# Results

Written by `thinkvla results docs/results --output docs/results.md` from the files in [results](results) and the
published figures in `src/thinkvla/results/published.py`. Do not edit: keep an evaluation by `thinkvla results keep` and
write the page again.

- **Paper**: 3DThinkVLA ([arXiv 2606.04436]({PAPER})), success in percent. **Best public**: the policy with the highest
  published average on the benchmark that acts on its own and was trained as the benchmark has it, by the leaderboard of
  vla-eval of 14 April 2026; all its figures are shown. The paper's weights are not public: its row cannot be run again.
- **Ours**: successes of episodes, with Wilson's 95 % interval. Training seeds of one recipe are counted together.
- **Verdict**, by rule: *above* or *below* where Newcombe's 95 % interval of the difference (method 10) lies above or
  below zero, else *not distinguishable*. A published figure counts with its own number of episodes where that is known.
  Where the simulator is another one, or the policy has under half of the paper's {PAPER_PARAMETERS / 1e9:.1f} billion
  parameters, the verdict is *not comparable*, with the reason.
- **Command**: what makes the row; where several seeds were trained, the evaluation of the first is shown."""


@dataclass(frozen=True)
class Ours:
    """What policies of one method reach on some scenes, all their evaluations together; ``evaluation`` is the first."""

    method: str
    successes: int
    episodes: int
    errors: int
    policies: tuple[KeptPolicy, ...]
    evaluation: KeptEvaluation

    @property
    def parameters(self) -> int:
        """Of the largest of them."""
        return max(one.parameters for one in self.policies)

    @property
    def about(self) -> str:
        """Size, data and seeds."""
        known = {one.demonstrations for one in self.policies if one.demonstrations is not None}
        data = f", {' or '.join(map(str, sorted(known)))} demonstrations" if known else ""
        seeds = sorted({NOT_RECORDED if one.seed is None else str(one.seed) for one in self.policies})
        return f"{self.method}: {_millions(self.parameters)} parameters{data}, seed {' and '.join(seeds)}"

    @property
    def share(self) -> Share:
        """The rate with its interval."""
        return Share.counted(self.successes, self.episodes)

    def __str__(self) -> str:
        share = self.share
        errors = f", {self.errors} more ended in an error" if self.errors else ""
        return f"{self.successes} of {self.episodes} ({100 * share.low:.1f}–{100 * share.high:.1f} %{errors})"


def write_page(results: Path, output: Path) -> Path:
    """Write the page of the files in ``results``; an older one is replaced. Returns its path.

    Raises:
        ValueError: the folder is not there, or holds a file that is not one of 'thinkvla results keep'.
    """
    text = page(load_all(results))
    with new_file(output, len(text.encode())) as partial:
        partial.write_text(text, encoding="utf-8")
    return output


def page(kept: Sequence[Kept]) -> str:
    """The page's text."""
    parts = [_HEAD]
    for benchmark in BENCHMARKS:
        members = [one for one in kept if one.policy.recipe.startswith(benchmark.recipes)]
        members = [one for one in members if any(e.benchmark in benchmark.names for e in one.evaluations)]
        parts.append(
            "\n".join([f"## {benchmark.title}", "", benchmark.about, "", *_against_others(benchmark, members)])
        )
        within = list(_within(benchmark, members))
        if within:
            head = [
                "| on | policy | success | against | success | difference | verdict |",
                "|---|---|---|---|---|---|---|",
            ]
            parts.append("\n".join(["Methods against each other, on the same benchmark:", "", *head, *within]))
    parts.append("\n".join(["## The policies", "", *_policies(kept)]))
    return "\n\n".join(parts) + "\n"


def _against_others(benchmark: Benchmark, members: Sequence[Kept]) -> Iterator[str]:
    best = f"best public ([{benchmark.best.name}]({benchmark.best.url}))" if benchmark.best else "best public"
    yield f"| suite | paper | {best} | ours | our policy | against the paper | command |"
    yield "|---|---|---|---|---|---|---|"
    for row in benchmark.rows:
        found = _first(benchmark, members, row)
        obstacle = f"; {row.obstacle}" if row.obstacle else ""
        cells = (
            row.title,
            _percent(row.paper),
            _percent(row.best),
            f"{found}{obstacle}" if found else f"none: {benchmark.missing}{obstacle}",
            found.about if found else NONE,
            _judged(benchmark, row, found) if found else NONE,
            _commands(benchmark, row, found) if row.suite else "those above",
        )
        yield f"| {' | '.join(cells)} |"
    if benchmark.best and benchmark.best.remark:
        yield ""
        yield f"{benchmark.best.name}: {benchmark.best.remark}."


def _commands(benchmark: Benchmark, row: Row, found: Ours | None) -> str:
    """What makes the row: the policies that do not ship, and the evaluation of the first."""
    method = (found.method if found else FULL).split()[0].lower()
    fill = {"suite": row.suite, "method": method, "suffix": "" if method == FULL.lower() else f"_{method}"}
    seeds = [one.seed for one in found.policies if one.seed is not None] if found else [0]
    needed = [
        command.format(**fill) + (f" --seed {seed}" if seed and command.startswith("thinkvla train") else "")
        for seed in seeds
        for command in benchmark.train
    ]
    policy, options = benchmark.policy.format(**fill), benchmark.evaluate.format(**fill)
    if found is not None:
        policy = found.policies[0].recipe if found.policies[0].seed is None else policy
        options = _options(found.evaluation)
    needed.append(f"thinkvla eval {policy} {options} --output results/{'_'.join((fill['suite'], method))}")
    return ", ".join(f"`{command}`" for command in dict.fromkeys(needed))


def _options(evaluation: KeptEvaluation) -> str:
    """Options of ``thinkvla eval`` that repeat an evaluation."""
    names = ("episodes", "first_seed", "execute", "max_steps", "sample", "perturbation", "level")
    given = {name: evaluation.options.get(name) for name in names}
    kind = (
        f"--suite {evaluation.suite}" if evaluation.benchmark == "tabletop" else f"--benchmark {evaluation.benchmark}"
    )
    return " ".join([kind, *(f"--{name.replace('_', '-')} {value}" for name, value in given.items() if value)])


def _first(benchmark: Benchmark, members: Sequence[Kept], row: Row) -> Ours | None:
    """The result of the first of ``METHODS`` that has one; of all rows together only where each has one."""
    rows = [row] if row.suite else [other for other in benchmark.rows if other.suite]
    for method in METHODS:
        found = [_pooled(benchmark, members, method, one.suite, task=one.task) for one in rows]
        whole = [one for one in found if one is not None]
        if len(whole) == len(rows):
            return _sum(whole)
    return None


def _pooled(
    benchmark: Benchmark,
    members: Sequence[Kept],
    method: str,
    suite: str,
    axis: str | None = None,
    levels: Iterable[int] = (0,),
    task: str = "",
) -> Ours | None:
    """What a method's policies reach on a suite, or one task of it, over an axis's levels; None without an episode."""
    chosen = []
    for one in members:
        for e in one.evaluations if one.policy.method == method else ():
            here = e.benchmark in benchmark.names and (e.suite, e.perturbation) == (suite, axis) and e.level in levels
            counts = e.tasks.get(task, (0, 0)) if task else (e.successes, e.episodes)
            if here and counts[1] and not e.options.get("as_released"):  # LIBERO-Plus with its traps is another one
                chosen.append(Ours(method, *counts, 0 if task else e.errors, (one.policy,), e))
    return _sum(chosen) if chosen else None


def _sum(parts: Sequence[Ours]) -> Ours:
    return Ours(
        method=parts[0].method,
        successes=sum(one.successes for one in parts),
        episodes=sum(one.episodes for one in parts),
        errors=sum(one.errors for one in parts),
        policies=tuple(dict.fromkeys(policy for one in parts for policy in one.policies)),
        evaluation=parts[0].evaluation,
    )


def _judged(benchmark: Benchmark, row: Row, ours: Ours) -> str:
    """The verdict against the paper's figure."""
    if row.paper is None:
        return NONE
    reasons = [benchmark.apart] if benchmark.apart else []
    if ours.parameters < PAPER_PARAMETERS / 2:
        reasons.append(f"{_millions(ours.parameters)} parameters")
    if reasons:
        return f"not comparable: {'; '.join(reasons)}"
    return verdict(ours.share, Share.published(row.paper, row.episodes))


def _within(benchmark: Benchmark, members: Sequence[Kept]) -> Iterator[str]:
    """The full method against each other one, suite by suite, then axis by axis over the levels that both have.

    What it reaches under a perturbation is shown even where there is no other method.
    """
    names = {row.suite: row.title for row in benchmark.rows if not row.task}
    order = list(names)
    cells = {_cell(e) for one in members for e in one.evaluations if e.benchmark in benchmark.names}
    place = {suite: order.index(suite) if suite in order else len(order) for suite, _ in cells}
    for suite, axis in sorted(cells, key=lambda cell: (cell[1] is not None, place[cell[0]], cell[1] or "")):
        own = _levels(members, FULL, suite, axis)
        others = [method for method in METHODS[1:] if own & _levels(members, method, suite, axis)]
        for other in others or ([NONE] if own and axis else []):
            levels = own & _levels(members, other, suite, axis) or own
            ours = _pooled(benchmark, members, FULL, suite, axis, levels)
            theirs = _pooled(benchmark, members, other, suite, axis, levels)
            assert ours is not None, "levels are those that have episodes"
            title = names.get(suite, suite) + (f", {axis} {_ranges(levels)}" if axis else "")
            gap = judged = NONE
            if theirs is not None:
                low, high = difference(ours.share, theirs.share)
                gap = f"{100 * low:+.1f} to {100 * high:+.1f} points"
                judged = verdict(ours.share, theirs.share)
            yield f"| {' | '.join((title, FULL, str(ours), other, str(theirs or NONE), gap, judged))} |"


def _cell(evaluation: KeptEvaluation) -> tuple[str, str | None]:
    return evaluation.suite, evaluation.perturbation


def _levels(members: Sequence[Kept], method: str, suite: str, axis: str | None) -> set[int]:
    found = (e for one in members if one.policy.method == method for e in one.evaluations)
    return {e.level for e in found if _cell(e) == (suite, axis) and e.episodes}


def _ranges(levels: Iterable[int]) -> str:
    """``1–3``, ``1, 3``."""
    runs = groupby(enumerate(sorted(levels)), key=lambda pair: pair[1] - pair[0])
    numbers = [[level for _, level in run] for _, run in runs]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in numbers)


def _policies(kept: Sequence[Kept]) -> Iterator[str]:
    yield "| file | recipe | method | seed | parameters | demonstrations | samples trained on | evaluated with | when |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in kept:
        policy = one.policy
        data = NOT_RECORDED if policy.demonstrations is None else f"{policy.demonstrations} ({policy.frames} steps)"
        days = sorted({e.created[:10] for e in one.evaluations})
        cells = (
            f"[{one.name}](results/{one.name}.json)",
            policy.recipe,
            policy.method,
            NOT_RECORDED if policy.seed is None else str(policy.seed),
            _millions(policy.parameters),
            data,
            NOT_RECORDED if policy.samples is None else str(policy.samples),
            _software(one.evaluations),
            days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "What the run of a shipped policy did not record is on its card. The files hold options and all versions."


def _software(evaluations: Sequence[KeptEvaluation]) -> str:
    """The simulator's version and what was executed of each chunk."""
    found = [one.simulator or {name: v for name, v in one.versions.items() if name == "mujoco"} for one in evaluations]
    versions = sorted({f"{name} {version}" for one in found for name, version in one.items()})
    executed = sorted({str(one.options["execute"]) for one in evaluations if "execute" in one.options})
    return ", ".join([*versions, f"{' or '.join(executed)} actions of a chunk"])


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M" if parameters < 1e9 else f"{parameters / 1e9:.1f} B"
