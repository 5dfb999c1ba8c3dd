"""How good scores are: top-k per instance and per class, intervals, calibration, paired tests. Fractions, never %."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import bdtr, log_softmax, softmax


@dataclass(frozen=True)
class TopK:
    """instance: share of clips hit; per_class: mean over the classes that have a clip of the share hit there."""

    instance: float
    per_class: float
    num_classes: int


def ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) how many classes of scores (N, K) come before the label; 0 is a hit of top-1.

    Of equal scores the lower class index wins. NaN comes before everything, so a NaN is never a hit.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    own = np.take_along_axis(scores, labels[:, None], 1)
    not_lower_index = np.arange(scores.shape[1]) >= labels[:, None]
    return (~((scores < own) | ((scores == own) & not_lower_index))).sum(1)


def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """(N,) bool: whether the label is among the k best of scores (N, K). Of equal scores the lower class index wins."""
    return ranks(scores, labels) < k


def topk(scores: np.ndarray, labels: np.ndarray, k: int) -> TopK:
    """Top-k accuracy of scores (N, K) against labels (N,)."""
    if not len(labels):
        raise ValueError("no clips to score")
    hit = hits(scores, labels, k)
    rates = class_rates(hit, labels)
    return TopK(float(hit.mean()), float(rates.mean()), len(rates))


def class_rates(hit: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(classes with clips,) the share of each class's clips that were hit; hit and labels are (N,)."""
    _, index = np.unique(labels, return_inverse=True)
    return np.bincount(index, weights=hit) / np.bincount(index)


def class_bootstrap(rates: np.ndarray, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of `rates` (classes,): percentiles over resampled classes, the same in every call.

    It says how the mean would move with other glosses, and holds the mean itself.
    """
    rates = np.asarray(rates, np.float64)
    rng = np.random.default_rng(seed)
    means = np.concatenate(  # in parts: 2000 classes x 2000 resamples at once would take 32 MB of indices
        [rates[rng.integers(0, len(rates), (part, len(rates)))].mean(1) for part in _parts(resamples, 250)]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return min(float(low), float(rates.mean())), max(float(high), float(rates.mean()))


def cluster_bootstrap(
    hit: np.ndarray, labels: np.ndarray, clusters: np.ndarray, resamples: int = 2000, seed: int = 0
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % intervals of the share of hits (N,) per instance and per class: percentiles over resampled clusters (N,).

    Clips of one cluster, such as a person's, are drawn together: they are no independent evidence. A class without a
    clip in a resample does not count there. Of few clusters the intervals are rough, and rather too narrow.
    """
    _, group = np.unique(clusters, return_inverse=True)
    _, place = np.unique(labels, return_inverse=True)
    shape = (int(group.max()) + 1, int(place.max()) + 1)
    right, count = np.zeros(shape), np.zeros(shape)
    np.add.at(right, (group, place), hit)
    np.add.at(count, (group, place), 1)
    rng, found = np.random.default_rng(seed), []
    for part in _parts(resamples, 250):
        times = rng.multinomial(shape[0], np.full(shape[0], 1 / shape[0]), part).astype(float)
        hits_drawn, drawn = times @ right, times @ count
        with np.errstate(invalid="ignore"):
            rates = np.nanmean(hits_drawn / drawn, axis=1)
        found.append(np.stack([hits_drawn.sum(1) / drawn.sum(1), rates]))
    low, high = np.percentile(np.concatenate(found, 1), [2.5, 97.5], axis=1)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def _parts(total: int, most: int) -> list[int]:
    return [min(most, total - start) for start in range(0, total, most)]


def wilson(successes: float, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's interval for a share of `successes` out of `n` (95 % by default)."""
    if n < 1:
        return 0.0, 1.0
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def log_loss(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean negative log-likelihood, in nats, of logits (N, K); of clips weighted by `weights` (N,)."""
    own = np.take_along_axis(log_softmax(scores, axis=1), np.asarray(labels)[:, None], 1)[:, 0]
    return float(-np.average(own, weights=weights))


def calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of logits (N, K): |accuracy - confidence| over equal-width bins (Guo et al., 2017)."""
    probability = softmax(scores, axis=1)
    confidence = probability.max(1)
    correct = hits(scores, labels, 1)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.abs(np.bincount(index, correct, bins) - np.bincount(index, confidence, bins))
    return float(gaps.sum() / len(labels))


@dataclass(frozen=True)
class CertaintyStep:
    """Of the clips whose best score is `start` or more, up to the next step: the share that is right, their number."""

    start: float
    right: float
    clips: int


def certainty_steps(confidence: np.ndarray, right: np.ndarray, fewest: int = 50, bins: int = 20) -> list[CertaintyStep]:
    """How often the best answer is right by how sure it is: steps from the lowest score up, whose shares do not fall.

    confidence: (N,) best scores in 0..1; right: (N,) bool. Bins of equal width are joined from below until each has
    `fewest` clips, the last one to the one before it; then neighbours whose shares would fall (pool adjacent violators:
    the isotonic regression of the bins' shares).
    """
    right = np.asarray(right, bool)
    if not len(right):
        raise ValueError("no clips to learn from")
    index = np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
    joined: list[tuple[int, int, int]] = []  # the first bin, how many clips are right, how many there are
    for i in range(bins):
        of_bin = i, int(right[index == i].sum()), int((index == i).sum())
        if joined and joined[-1][2] < fewest:
            joined[-1] = _joined(joined[-1], of_bin)
        elif of_bin[2]:
            joined.append(of_bin)
    if len(joined) > 1 and joined[-1][2] < fewest:
        joined[-2:] = [_joined(*joined[-2:])]
    steps: list[tuple[int, int, int]] = []
    for step in joined:
        while steps and steps[-1][1] * step[2] >= step[1] * steps[-1][2]:
            step = _joined(steps.pop(), step)
        steps.append(step)
    return [CertaintyStep(first / bins, hit / clips, clips) for first, hit, clips in steps]


def _joined(lower: tuple[int, int, int], upper: tuple[int, int, int]) -> tuple[int, int, int]:
    return lower[0], lower[1] + upper[1], lower[2] + upper[2]


def class_order(scores: np.ndarray, labels: np.ndarray) -> dict[int, int]:
    """The one-to-one map from columns of logits (N, K) to labels (N,) that makes the clips most probable in total."""
    classes, index = np.unique(labels, return_inverse=True)
    mass = np.zeros((len(classes), scores.shape[1]))
    np.add.at(mass, index, softmax(scores.astype(np.float64), axis=1))
    rows, columns = linear_sum_assignment(mass, maximize=True)
    return {int(column): int(classes[row]) for row, column in zip(rows, columns, strict=True)}


def renamed_hits(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) bool: whether each clip is right once the classes are in the order that the other half of the clips teaches.

    Each class is split between the halves, and each half is judged by the other's order.
    """
    shuffled = np.random.default_rng(0).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    hit = np.zeros(len(labels), bool)
    for learn, test in ((by_class[::2], by_class[1::2]), (by_class[1::2], by_class[::2])):
        if len(learn) and len(test):
            meant = class_order(scores[learn], labels[learn])
            hit[test] = [meant.get(int(p), -1) == y for p, y in zip(scores[test].argmax(1), labels[test], strict=True)]
    return hit


def fit_fusion(
    logits: Mapping[str, np.ndarray], labels: np.ndarray, weights: np.ndarray | None = None, shrink: float = 0.05
) -> tuple[dict[str, float], float]:
    """Fusion weights that sum to 1 and a temperature, from held-out logits {stream: (N, K)}: one convex fit.

    Minimises the log-loss (of clips weighted by `weights`) of Σ w·logits over w ≥ 0, drawn towards equal weights by
    `shrink`; the temperature is 1 / Σ w, so that softmax(fused / temperature) is calibrated.
    """
    names = list(logits)
    stack = np.stack([np.asarray(logits[name], np.float64) for name in names])
    rows = np.arange(len(labels))
    share = np.full(len(labels), 1 / len(labels)) if weights is None else weights / weights.sum()

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        fused = np.tensordot(w, stack, 1)
        log_p = log_softmax(fused, axis=1)
        residual = np.exp(log_p)
        residual[rows, labels] -= 1
        spread = w - w.mean()
        value = -(share * log_p[rows, labels]).sum() + shrink * (spread**2).sum()
        return value, np.einsum("n,snk,nk->s", share, stack, residual) + 2 * shrink * spread

    start = np.full(len(names), 1 / len(names))
    fit = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(names))
    total = float(fit.x.sum())
    if total < 1e-6:  # the streams know nothing: any weights do, and no answer is likelier than another
        return dict.fromkeys(names, 1 / len(names)), 1e6
    return {name: float(w) / total for name, w in zip(names, fit.x, strict=True)}, 1 / total


@dataclass(frozen=True)
class Paired:
    """B against A on the same clips: accuracy of B minus that of A, its 95 % interval, McNemar's exact p.

    only_a, only_b: clips that one of them alone got right.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int
    only_a: int
    only_b: int


def paired(
    hit_a: np.ndarray, hit_b: np.ndarray, groups: np.ndarray | None = None, resamples: int = 10_000, seed: int = 0
) -> Paired:
    """Compares the hits (N,) bool of two systems on the same clips.

    groups: (N,) of any kind; clips of one group are resampled together, since takes of one person are no independent
    evidence. McNemar's test counts clips one by one in any case.
    """
    hit_a, hit_b = np.asarray(hit_a, bool), np.asarray(hit_b, bool)
    if hit_a.shape != hit_b.shape or not len(hit_a):
        raise ValueError(f"the same clips, at least one, must be compared, not {hit_a.shape} with {hit_b.shape}")
    gain = hit_b.astype(np.int64) - hit_a
    rng = np.random.default_rng(seed)
    if groups is None:  # of single clips only the three counts matter, and those are multinomial
        counts = np.bincount(gain + 1, minlength=3)
        drawn = rng.multinomial(len(gain), counts / len(gain), resamples)
        differences = (drawn[:, 2] - drawn[:, 0]) / len(gain)
    else:
        _, index = np.unique(groups, return_inverse=True)
        gains, sizes = np.bincount(index, gain), np.bincount(index)
        differences = np.empty(resamples)
        for i, part in enumerate(_parts(resamples, 500)):
            drawn = rng.integers(0, len(sizes), (part, len(sizes)))
            differences[500 * i : 500 * i + part] = gains[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.percentile(differences, [2.5, 97.5])
    only_a, only_b = int((gain < 0).sum()), int((gain > 0).sum())
    p = mcnemar(only_a, only_b)
    return Paired(float(gain.mean()), float(low), float(high), p, len(gain), only_a, only_b)


def mcnemar(only_a: int, only_b: int) -> float:
    """McNemar's exact two-sided p, from the clips that only A and only B got right."""
    total = only_a + only_b
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), total, 0.5))) if total else 1.0


def figures(
    scores: np.ndarray, labels: np.ndarray, rank: np.ndarray, clusters: np.ndarray | None = None
) -> dict[str, Any]:
    """The four accuracies of logits (N, K) with 95 % intervals, log-loss and calibration error.

    Intervals are Wilson's, and per class the bootstrap's over classes; where it is known which clips depend on one
    another, they reach as far as `cluster_bootstrap`'s too, which of few clusters may be too narrow.
    """
    found: dict[str, Any] = {"n": len(labels), "num_classes": len(np.unique(labels))}
    for k in (1, 5):
        hit = rank < k
        rates = class_rates(hit, labels)
        bounds = [(wilson(int(hit.sum()), len(hit)), class_bootstrap(rates))]
        if clusters is not None:
            bounds.append(cluster_bootstrap(hit, labels, clusters))
        for kind, share, intervals in zip(
            ("instance", "class"), (hit.mean(), rates.mean()), zip(*bounds, strict=True), strict=True
        ):
            lows, highs = zip(*intervals, strict=True)
            ends = min(*lows, share), max(*highs, share)
            found |= dict(zip(with_bounds(f"top{k}_{kind}"), map(float, (share, *ends)), strict=True))
    return found | {"log_loss": log_loss(scores, labels), "ece": calibration_error(scores, labels)}


def with_bounds(name: str) -> tuple[str, str, str]:
    return name, f"{name}_lo", f"{name}_hi"
