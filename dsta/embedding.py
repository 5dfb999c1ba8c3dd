"""The joint embedding of an ensemble: prototypes of signs, and how familiar a clip is.

Nearest prototypes on normalised features are a strong few-shot classifier (SimpleShot, arXiv 1911.04623).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dsta.checkpoint import FamiliarSigns
from dsta.score import Scores

_NEAREST = 5  # means of the background that count


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


def prototypes(embeddings: np.ndarray, examples: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """(G, D) a unit vector for each gloss: the mean of its examples. examples: for each gloss rows of embeddings."""
    return unit(np.stack([embeddings[rows].mean(0) for rows in examples]))


def familiarity(embeddings: np.ndarray, signs: FamiliarSigns) -> np.ndarray:
    """(N,) how much more clips (N, D) are like the signs that are known than like others: the cosine to the nearest
    known mean, less a part of that to the nearest means of the background."""
    like_known = (embeddings @ signs.known.T).max(1)
    like_others = np.sort(embeddings @ signs.background.T, axis=1)[:, -_NEAREST:].mean(1)
    return np.asarray(like_known - signs.weight * like_others)
