"""Confidence intervals of a success rate."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a success probability, (low, high) in [0, 1].

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927. Unlike
    the normal approximation it stays sensible at 0 and 100 % and for few episodes. No trials: (0, 1).

    Raises ValueError unless 0 ≤ successes ≤ trials and 0 < confidence < 1.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"wilson: {successes} successes of {trials} trials is not possible")
    if not 0 < confidence < 1:
        raise ValueError(f"wilson: confidence {confidence} must lie between 0 and 1, e.g. 0.95")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / trials
    shrink = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z * sqrt(rate * (1 - rate) / trials + (z / (2 * trials)) ** 2) / shrink
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high
