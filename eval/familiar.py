"""The means of known and of other signs by which a weights folder tells an unknown sign, and their threshold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans

from dsta.checkpoint import Checkpoint, Ensemble, FamiliarSigns
from dsta.common import UserError
from dsta.data import Clip, read_clip_set
from dsta.embedding import familiarity, joint_embedding, prototypes
from dsta.score import score_streams
from dsta.train.sampling import capped

PASSED = 0.9
"""Share of the known clips that the threshold lets pass."""
WEIGHT = 0.75  # of the background; this and the next were chosen on WLASL100's validation clips (docs/log.md)
_MEANS, _BACKGROUND_MEANS = 3, 200
_FEWEST = 3  # clips behind a mean, so that none is a single clip's
_PER_SOURCE = 5  # clips of a gloss; more takes of one person add little
_BACKGROUND_CLIPS = 1500


def fitted_means(embeddings: np.ndarray, labels: np.ndarray, background: np.ndarray) -> FamiliarSigns:
    """The means of known signs (N, D), labels (N,) indices of their glosses, and of others (B, D).

    Of a gloss that of all its clips, and those of k-means' groups of at least three clips. The threshold lets all pass.
    """
    known, gloss = [], []
    for label in range(int(labels.max()) + 1):
        own = embeddings[labels == label]
        if not len(own):
            continue
        rows = [np.arange(len(own)), *_groups(own, min(_MEANS, len(own) // _FEWEST))]
        known.append(prototypes(own, rows))
        gloss += [label] * len(rows)
    groups = _groups(background, min(_BACKGROUND_MEANS, len(background)))
    return FamiliarSigns(np.concatenate(known), np.array(gloss), prototypes(background, groups), WEIGHT, -np.inf)


def _groups(embeddings: np.ndarray, count: int) -> list[np.ndarray]:
    """Clips that are alike, in at most so many groups; those of fewer than three are left out where others are left."""
    if count < 2:
        return [np.arange(len(embeddings))][:count]
    of = KMeans(count, n_init=3, random_state=0).fit(embeddings).labels_
    groups = [np.flatnonzero(of == i) for i in range(count)]
    return [group for group in groups if len(group) >= _FEWEST] or [np.arange(len(embeddings))]


def background_clips(folder: Path, known: Collection[str]) -> list[np.ndarray]:
    """The joints of a set's clips whose gloss is none of those known. Raises UserError where there are none."""
    clips = read_clip_set(folder, "train")
    found = [i for i, label in enumerate(clips.labels) if clips.glosses[label] not in known]
    if not found:
        raise UserError(f"{folder} has no sign outside the vocabulary: give another --background.")
    return [clips.joints[i] for i in found]


def threshold_of(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The value that nine tenths of those of known clips (N,) reach, each counted by its weight."""
    order = np.argsort(-values)
    weights = np.ones(len(values)) if weights is None else weights
    reached = weights[order].cumsum() / weights.sum()
    return float(values[order][min(int(np.searchsorted(reached, PASSED)), len(values) - 1)])


def spread_out(count: int, most: int) -> list[int]:
    """At most so many of the positions 0 … count - 1, evenly."""
    return [count * i // most for i in range(most)] if count > most else list(range(count))


@dataclass(frozen=True)
class Judged:
    """Networks, the clips that taught them, and clips of the same signs that they have not seen.

    networks: stream -> folder. dataset: of the unseen clips.
    """

    networks: Mapping[str, Path]
    train: Sequence[Clip]
    unseen: Sequence[np.ndarray]
    dataset: str


def familiar_signs(
    parts: Sequence[Judged], glosses: Sequence[str], background: Sequence[np.ndarray], fusion: Mapping[str, float]
) -> FamiliarSigns:
    """The means of the last part's networks, which ship, with the threshold that nine tenths of the unseen clips of all
    parts reach, each data set counting the same."""
    values, sets = [], []
    background = [background[i] for i in spread_out(len(background), _BACKGROUND_CLIPS)]
    for part in parts:
        embedded = _Embedded({s: Checkpoint.load(folder) for s, folder in part.networks.items()}, fusion)
        train = capped(part.train, _PER_SOURCE, np.random.default_rng(0))
        labels = np.array([glosses.index(clip.gloss) for clip in train])
        signs = fitted_means(embedded([clip.joints for clip in train]), labels, embedded(background))
        if not len(part.unseen):
            continue
        values.append(familiarity(embedded(part.unseen), signs))
        sets += [part.dataset] * len(part.unseen)
    _, place, count = np.unique(sets, return_inverse=True, return_counts=True)
    return replace(signs, threshold=threshold_of(np.concatenate(values), 1 / count[place]))


@dataclass(frozen=True)
class _Embedded:
    """Clips to joint embeddings."""

    checkpoints: dict[str, Checkpoint]
    fusion: Mapping[str, float]

    def __call__(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        return joint_embedding(score_streams(Ensemble(self.checkpoints, dict(self.fusion)), clips), self.fusion)
