"""Two systems on the clips that both scored: the paired test, and its finding in words."""

from typing import NamedTuple

import numpy as np

from dsta.common import UserError
from dsta.metrics import Paired, paired


class Predictions(NamedTuple):
    """Of each clip its name, its place in the ranking (0 is right at once), and the cluster whose take it is,
    if known; kind: what these clusters are."""

    names: np.ndarray
    rank: np.ndarray
    clusters: np.ndarray
    kind: str = ""


def compare(a: Predictions, b: Predictions, top_k: int = 1) -> Paired:
    """B against A on the clips of both, takes of one person kept together if known. Raises UserError without any."""
    for side in (a, b):
        if len(np.unique(side.names)) != len(side.names):
            raise UserError("Clip names occur more than once, so clips cannot be paired by name.")
    _, in_a, in_b = np.intersect1d(a.names, b.names, return_indices=True)
    if not len(in_a):
        raise UserError("The two rows have no clip in common: only rows on the same data can be compared.")
    clusters = a.clusters[in_a] if a.kind else None
    return paired(a.rank[in_a] < top_k, b.rank[in_b] < top_k, clusters)


def sentence(result: Paired, kind: str, clips: tuple[int, int]) -> str:
    """The finding in words, in points (percent). kind: of what was kept together, empty for single clips."""
    sign = -1 if result.difference < 0 else 1
    low, high = sorted(100 * sign * bound for bound in (result.low, result.high))
    who = "B is worse" if sign < 0 else "B is better"
    interval = f"95 % {low:.1f} … {high:.1f}{f', each of the {kind} kept together' if kind else ''}"
    text = f"{who} by {100 * abs(result.difference):.1f} points, {interval}, p {_p(result.p)} (n = {result.n})."
    if result.difference == 0:
        text = f"A and B are equally good (difference: {interval}, p {_p(result.p)}, n = {result.n})."
    elif result.low <= 0 <= result.high:
        text += " The difference may be chance: the interval holds 0."
    elif result.p > 0.05:
        text += " McNemar's test does not confirm it."
    if max(clips) > result.n:
        text += f" Clips in one row only are left out ({clips[0]} in A, {clips[1]} in B)."
    return f"{text}\nOnly A right: {result.only_a}; only B right: {result.only_b}."


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"
