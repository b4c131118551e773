"""What a number of votes can show."""

from __future__ import annotations

import math
from statistics import NormalDist

__all__ = ["CLUSTERING", "smallest_preference", "votes_needed"]

CLUSTERING = 2.5  # votes of one rater or on one picture resemble each other: so many votes count as one


def smallest_preference(votes: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest preference, above 0.5, that so many independent votes show (two-sided test, normal approximation).

    1.0 where even unanimity would not be shown. 194 votes: 0.6; 783: 0.55.
    """
    low, high = 0.5, 1.0
    if votes_needed(1.0 - 1e-9, alpha, power) > votes:
        return 1.0
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if votes_needed(middle, alpha, power) > votes else (low, middle)
    return high


def votes_needed(preference: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Independent votes that show a preference (not 0.5) with this power."""
    normal = NormalDist()
    wide = normal.inv_cdf(1 - alpha / 2) * 0.5
    narrow = normal.inv_cdf(power) * math.sqrt(preference * (1 - preference))
    return math.ceil(((wide + narrow) / (preference - 0.5)) ** 2 - 1e-9)
