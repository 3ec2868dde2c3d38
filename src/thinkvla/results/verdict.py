"""Whether one success rate is above another, by a rule and from intervals alone.

The rule: take Newcombe's 95 % interval of the difference; the first rate is ``above`` the second when the interval lies
above zero, ``below`` when it lies below, and ``not distinguishable`` when it holds zero.

Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions: comparison of eleven
methods", Statistics in Medicine 1998, method 10. It is made of both rates' Wilson intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

from thinkvla.evaluate.intervals import wilson

Verdict = Literal["above", "below", "not distinguishable"]


@dataclass(frozen=True)
class Share:
    """A success rate with its 95 % interval, all in [0, 1].

    Attributes:
        value: the rate.
        low: lower end of the interval.
        high: upper end; both equal ``value`` where the number of episodes is not known.
    """

    value: float
    low: float
    high: float

    @staticmethod
    def counted(successes: int, episodes: int) -> Share:
        """Of episodes; raises ValueError without any."""
        if episodes == 0:
            raise ValueError("a rate of no episodes has no value; count at least one")
        return Share(successes / episodes, *wilson(successes, episodes))

    @staticmethod
    def published(percent: float, episodes: int | None) -> Share:
        """Of a figure in percent, of so many episodes; a bare number where a publication does not say how many."""
        value = percent / 100
        if episodes is None:
            return Share(value, value, value)
        low, high = wilson(round(value * episodes), episodes)
        return Share(value, min(low, value), max(high, value))


def difference(ours: Share, theirs: Share) -> tuple[float, float]:
    """Newcombe's 95 % interval of ``ours − theirs``, each end in [−1, 1]."""
    gap = ours.value - theirs.value
    low = gap - sqrt((ours.value - ours.low) ** 2 + (theirs.high - theirs.value) ** 2)
    high = gap + sqrt((ours.high - ours.value) ** 2 + (theirs.value - theirs.low) ** 2)
    return low, high


def verdict(ours: Share, theirs: Share) -> Verdict:
    """The rule at the top of this file."""
    low, high = difference(ours, theirs)
    if low > 0:
        return "above"
    return "below" if high < 0 else "not distinguishable"
