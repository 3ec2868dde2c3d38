"""A table of a model's answers for the terminal."""

from __future__ import annotations

from rich.table import Table

from thinkvla.evaluate.qa_results import QARate, QAResult

TITLES = {"2d": "2D (general)", "3d": "3D (spatial)"}


def qa_table(result: QAResult) -> Table:
    """Totals and categories: right answers, rate, Wilson's 95 % interval, chance level, and diagnostics."""
    table = Table(title=f"{result.policy}: {len(result.answers)} questions in {result.seconds:.0f} s")
    table.add_column("questions")
    for heading in ("right", "rate", "95 % interval", "chance"):
        table.add_column(heading, justify="right")
    table.add_column("besides")
    for kind, total in result.totals.items():
        table.add_section()
        table.add_row(*_cells(TITLES[kind], total), style="bold")
        for name, rate in result.categories[kind].items():
            table.add_row(*_cells(f"  {name or 'without category'}", rate))
    return table


def remarks(rate: QARate) -> str:
    """What else is known of a rate's answers, in words; empty when nothing is."""
    found = []
    if rate.concluded is not None:
        found.append(f"{rate.concluded} came to a letter")
    if rate.location_error is not None:
        found.append(f"{rate.quoted} of {rate.locations} locations, off by {100 * rate.location_error:.1f} cm")
    if rate.recall is not None and rate.precision is not None:
        found.append(f"named {100 * rate.recall:.0f} % of things, {100 * rate.precision:.0f} % of named there")
    if rate.position_error is not None:
        found.append(f"positions off by {rate.position_error:.1f} %")
    return "; ".join(found)


def _cells(name: str, rate: QARate) -> tuple[str, ...]:
    return (
        name,
        f"{rate.right}/{rate.questions}",
        f"{100 * rate.value:.1f} %",
        f"{100 * rate.low:.1f}–{100 * rate.high:.1f} %",
        f"{100 * rate.chance:.1f} %",
        remarks(rate),
    )
