"""The joint embedding of an ensemble: signs known by a few examples, and how familiar a clip is.

Nearest prototypes on normalised features are a strong few-shot classifier (SimpleShot, arXiv 1911.04623).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dsta.checkpoint import FamiliarSigns
from dsta.score import Scores

_NEAREST = 5  # means of the background that count
PROBE_FROM = 3
"""Examples of each sign from which on a linear probe tells them apart, and no longer prototypes."""
_STRENGTH = 100.0  # of the probe: the inverse of its regularisation

Examples = Sequence[Sequence[int] | np.ndarray]
"""For each of G signs the rows of embeddings that are its examples."""


def joint_embedding(scores: Mapping[str, Scores], fusion: Mapping[str, float]) -> np.ndarray:
    """(N, D) unit vectors: the streams' normalised embeddings side by side, so that the cosine of two clips is the mean
    of the streams' cosines, weighted as the fusion weights its streams."""
    total = sum(fusion.values())
    return np.concatenate(
        [np.sqrt(weight / total) * unit(scores[stream].embeddings) for stream, weight in fusion.items()], axis=1
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors (…, D) at length 1; one of zeros stays."""
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def prototypes(embeddings: np.ndarray, examples: Examples) -> np.ndarray:
    """(G, D) a unit vector for each sign: the mean of its examples."""
    return unit(np.stack([embeddings[rows].mean(0) for rows in examples]))


@dataclass(frozen=True)
class Head:
    """Scores of G signs, linear in the joint embedding. weights: (G, D). bias: (G,)."""

    weights: np.ndarray
    bias: np.ndarray

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, G)."""
        return embeddings @ self.weights.T + self.bias


def prototype_head(embeddings: np.ndarray, examples: Examples) -> Head:
    """The cosine to each sign's prototype."""
    found = prototypes(embeddings, examples)
    return Head(found, np.zeros(len(found)))


def linear_probe(embeddings: np.ndarray, examples: Examples) -> Head:
    """Multinomial logistic regression of the examples, in which each sign counts the same; scores are logits.

    As scikit-learn's with C = 100 and balanced classes, which the tests compare it with.
    """
    from scipy.optimize import minimize  # here, as recognising does without
    from scipy.special import logsumexp

    rows = np.concatenate([np.asarray(own) for own in examples])
    of = np.repeat(np.arange(len(examples)), [len(own) for own in examples])
    x, signs = embeddings[rows], len(examples)
    share = (len(of) / signs / np.bincount(of))[of]
    wanted = np.eye(signs)[of]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:-signs].reshape(signs, -1), flat[-signs:]
        logits = x @ weights.T + bias
        log_sum = logsumexp(logits, axis=1)
        wrong = share[:, None] * (np.exp(logits - log_sum[:, None]) - wanted)
        gradient = np.concatenate([(wrong.T @ x + weights / _STRENGTH).ravel(), wrong.sum(0)])
        return float(share @ (log_sum - (logits * wanted).sum(1)) + (weights**2).sum() / (2 * _STRENGTH)), gradient

    start = np.zeros(signs * (x.shape[1] + 1))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return Head(found[:-signs].reshape(signs, -1), found[-signs:])


def takes_probe(counts: Sequence[int]) -> bool:
    """Whether signs of so many examples each are told apart by a linear probe, and not by prototypes."""
    return len(counts) > 1 and min(counts) >= PROBE_FROM


def taught_head(embeddings: np.ndarray, examples: Examples) -> Head:
    """What tells signs apart by a few examples: prototypes, or a linear probe where each sign has `PROBE_FROM`."""
    probe = takes_probe([len(rows) for rows in examples])
    return (linear_probe if probe else prototype_head)(embeddings, examples)


def familiarity(embeddings: np.ndarray, signs: FamiliarSigns) -> np.ndarray:
    """(N,) how much more clips (N, D) are like the signs that are known than like others: the cosine to the nearest
    known mean, less a part of that to the nearest means of the background."""
    like_known = (embeddings @ signs.known.T).max(1)
    like_others = np.sort(embeddings @ signs.background.T, axis=1)[:, -_NEAREST:].mean(1)
    return np.asarray(like_known - signs.weight * like_others)
