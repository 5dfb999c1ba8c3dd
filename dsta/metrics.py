"""How good scores are: top-k per instance and per class, intervals, calibration. Fractions, never percent."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax


@dataclass(frozen=True)
class TopK:
    """instance: share of clips hit; per_class: mean over the classes that have a clip of the share hit there."""

    instance: float
    per_class: float
    num_classes: int


def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """(N,) bool: whether the label is among the k best of scores (N, K). Of equal scores the lower class index wins."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    own = np.take_along_axis(scores, labels[:, None], 1)
    lower_index = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & lower_index)).sum(1) < k


def topk(scores: np.ndarray, labels: np.ndarray, k: int) -> TopK:
    """Top-k accuracy of scores (N, K) against labels (N,)."""
    if not len(labels):
        raise ValueError("no clips to score")
    hit = hits(scores, labels, k)
    classes, index = np.unique(labels, return_inverse=True)
    rates = np.bincount(index, weights=hit) / np.bincount(index)
    return TopK(float(hit.mean()), float(rates.mean()), len(classes))


def wilson(successes: float, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's interval for a share of `successes` out of `n` (95 % by default)."""
    if n < 1:
        return 0.0, 1.0
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats, of logits (N, K)."""
    return float(-np.take_along_axis(log_softmax(scores, axis=1), np.asarray(labels)[:, None], 1).mean())


def calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of logits (N, K): |accuracy - confidence| over equal-width bins (Guo et al., 2017)."""
    probability = softmax(scores, axis=1)
    confidence = probability.max(1)
    correct = hits(scores, labels, 1)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.abs(np.bincount(index, correct, bins) - np.bincount(index, confidence, bins))
    return float(gaps.sum() / len(labels))


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
    total = max(float(fit.x.sum()), 1e-6)
    return {name: float(w) / total for name, w in zip(names, fit.x, strict=True)}, 1 / total
