"""Which threshold to try where one shows nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from detbox.messages import counted

STEP = 0.01
"""thresholds are advised in whole multiples of it"""


def advice(best: Sequence[float], threshold: float) -> str:
    """A line on the pictures in which nothing reaches the threshold; empty if there are none.

    What is advised shows something in half of them.

    Args:
        best: highest score of each picture, 0 where there is no detection at all.
        threshold: lowest score that is shown.
    """
    empty = [score for score in best if score < threshold]
    if not empty:
        return ""
    told = (
        f"above {threshold:g} nothing was found in {len(empty)} of {counted(len(best), 'picture')}"
    )
    lower = math.floor(median(empty) / STEP) * STEP
    if lower < STEP:
        return f"{told}; the best scores there are below {STEP:g}, so there may be nothing to find"
    return f"{told}, try threshold={lower:.2g} (something in half of them)"
