"""Glosses told apart from a few example clips each: which clips are examples and asked about, by what, how well."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dsta.common import UserError
from dsta.data import ClipSet, read_clip_set
from dsta.data.clips import PickedClips
from dsta.embedding import Head
from dsta.metrics import ranks
from dsta.streams import Recipe, Stream, prepare, views

Classifier = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]
"""Clips (q,) that are asked about, and for each of G glosses its examples, all as positions -> scores (q, G)."""


@dataclass(frozen=True)
class Questions:
    """Clips of glosses that are told apart by examples.

    clips: all of them, labelled with these glosses. example (N,) bool: which may be examples. asked: protocol -> the
    positions of the clips that are asked about. same_source: examples are of the very source that is asked about, else
    of others.
    """

    clips: ClipSet
    example: np.ndarray
    asked: dict[str, np.ndarray]
    same_source: bool

    def examples(self, source: str, shots: int, order: np.ndarray) -> list[np.ndarray]:
        """For each gloss at most so many examples for the clips of a source, each of another source while there are
        such. order: the clips in the order of a draw."""
        sources = np.asarray(self.clips.sources)
        there = order[self.example[order] & ((sources[order] == source) == self.same_source)]
        chosen = []
        for gloss in range(len(self.clips.glosses)):
            own = there[self.clips.labels[there] == gloss]
            first = np.sort(np.unique(sources[own], return_index=True)[1])
            chosen.append(np.concatenate([own[first], np.delete(own, first)])[:shots])
        return chosen


def read_questions(folder: Path, known: Sequence[str], same_source: bool) -> Questions:
    """The clips of a data set's glosses that are not known. Raises UserError where there are too few."""
    clips = read_clip_set(folder, "train+val+test")
    glosses = tuple(gloss for gloss in clips.glosses if gloss not in known)
    if len(glosses) < 2:
        raise UserError(f"The weights know {len(known)} glosses, and of {folder}'s all but {len(glosses)}: too few.")
    if not clips.sources:
        raise UserError(f"{folder} does not say whose take a clip is, by which its examples are chosen.")
    of = [i for i, label in enumerate(clips.labels) if clips.glosses[label] in glosses]
    splits = np.array([clips.splits[i] for i in of]) if clips.splits else np.full(len(of), "folds")
    picked = replace(
        clips,
        names=tuple(clips.names[i] for i in of),
        labels=np.array([glosses.index(clips.glosses[clips.labels[i]]) for i in of]),
        joints=PickedClips(clips.joints, of),
        glosses=glosses,
        folds=clips.folds[of],
        sources=tuple(clips.sources[i] for i in of),
        splits=tuple(splits),
    )
    asked = {protocol: np.flatnonzero(splits == protocol) for protocol in ("val", "test", "folds")}
    example = splits == "train" if clips.splits else np.ones(len(of), bool)
    return Questions(picked, example, {name: at for name, at in asked.items() if len(at)}, same_source)


# ---- what tells them apart -------------------------------------------------------------------------------------------


def by_head(make: Callable[[np.ndarray, Sequence[np.ndarray]], Head], embeddings: np.ndarray) -> Classifier:
    """What `dsta.embedding` makes of the examples, prototypes or a linear probe. embeddings: (N, D) unit vectors."""
    return lambda asked, examples: make(embeddings, examples).scores(embeddings[asked])


def by_time_warping(distance: np.ndarray) -> Classifier:
    """The nearest example. distance: (N, N)."""
    return lambda asked, examples: np.stack([-distance[np.ix_(asked, rows)].min(1) for rows in examples], 1)


def warped_distances(questions: Questions, recipe: Recipe) -> np.ndarray:
    """(N, N) from clips that are asked about to examples, NaN between others: under dynamic time warping of the joint
    stream's input, the nearer of the clip and its mirror image."""
    seen = [
        [
            prepare(view, Stream.JOINT, recipe).transpose(1, 0, 2).reshape(recipe.window, -1)
            for view in _mirrored(clip, recipe)
        ]
        for clip in questions.clips.joints
    ]
    clips = np.array(seen, np.float32)  # (N, 2, T, D)
    asked = np.concatenate(list(questions.asked.values()))
    examples = np.flatnonzero(questions.example)
    found = np.full((len(clips), len(clips)), np.nan, np.float32)
    for i in asked:
        found[i, examples] = np.minimum(*(time_warped(view, clips[examples, 0]) for view in clips[i]))
    return found


def _mirrored(clip: np.ndarray, recipe: Recipe) -> Sequence[np.ndarray]:
    return views(clip, replace(recipe, views=2))


def time_warped(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(M,) cost of the cheapest way to align a series (T, D) with each of others (M, T', D): the sum of the Euclidean
    distances of the frames that meet (Sakoe and Chiba 1978, steps of one in either series or both)."""
    squares = (one**2).sum(-1)[:, None, None] + (others**2).sum(-1)
    apart = np.sqrt(np.maximum(squares - 2 * np.tensordot(one, others, (1, 2)), 0))  # (T, M, T')
    times, count, other_times = apart.shape
    cost = np.full((times + 1, other_times + 1, count), np.inf, np.float32)
    cost[0, 0] = 0
    for i in range(times):
        for j in range(other_times):
            before = np.minimum(np.minimum(cost[i, j], cost[i, j + 1]), cost[i + 1, j])
            cost[i + 1, j + 1] = apart[i, :, j] + before
    return cost[-1, -1]


# ---- how well --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """hits1, hits5: (N,) share of the draws in which a clip's gloss came first, or among five; NaN for a clip that was
    never asked about. ways: mean number of glosses among which they were told apart."""

    hits1: np.ndarray
    hits5: np.ndarray
    ways: float


def answers(questions: Questions, classifier: Classifier, shots: int, draws: int) -> Answers:
    """Asks about every clip once a draw; examples are drawn anew each time, and alike for all classifiers. A clip whose
    gloss has no example that may be taken, or which is one itself, is not asked about."""
    clips = questions.clips
    sources, asked = np.asarray(clips.sources), np.concatenate(list(questions.asked.values()))
    hits, count, ways = np.zeros((2, len(clips))), np.zeros(len(clips)), []
    for draw in range(draws):
        order = np.random.default_rng([2024, draw]).permutation(len(clips))
        for source in np.unique(sources[asked]):
            examples = questions.examples(source, shots, order)
            there = np.array([len(rows) > 0 for rows in examples])
            own = asked[(sources[asked] == source) & there[clips.labels[asked]]]
            own = np.setdiff1d(own, np.concatenate(examples))
            if len(own) and there.sum() > 1:
                scores = classifier(own, [rows for rows in examples if len(rows)])
                rank = ranks(scores, (there.cumsum() - 1)[clips.labels[own]])
                hits[:, own] += rank < 1, rank < 5
                count[own] += 1
                ways += [int(there.sum())] * len(own)
    if not ways:
        raise UserError(
            f"No clip of {clips.folder} has {'its own' if questions.same_source else 'another'} source's examples."
        )
    with np.errstate(invalid="ignore"):
        return Answers(hits[0] / count, hits[1] / count, float(np.mean(ways)))
