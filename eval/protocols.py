"""Which clips count under a protocol, and how streams are fused there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dsta.data import MissingSplit, SelectedClips, clip_key, official, read_clip_set
from dsta.data.benchmarks import MANY_KNOWN, known_share
from dsta.metrics import fit_fusion, ranks
from dsta.streams import fuse
from eval.plan import DatasetPlan, Unscored, fit_on_inner_fold
from leaderboard.results import FITTED_ON_VALIDATION, STREAMS

TUNED = "fusion weights tuned on the reported split by their authors"
FEWEST_TO_FIT = 50  # validation clips
Logits = Mapping[str, np.ndarray]
"""Stream -> (N, K) of all clips of a set."""


@dataclass(frozen=True)
class ProtocolClips:
    """A protocol, and the positions of the clips that count in it."""

    name: str
    positions: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class FusionRule:
    """A fusion: per segment of the clips (positions) the streams' weights and the temperature.

    chosen: by which clips, in words.
    """

    name: str
    segments: list[tuple[np.ndarray, dict[str, float], float]]
    chosen: str = "nothing to choose"
    note: str = ""

    def scores(self, logits: Logits, positions: np.ndarray) -> np.ndarray:
        """(positions, K) float64 fused logits over the temperature."""
        some_stream = next(iter(self.segments[0][1]))
        fused = np.empty(logits[some_stream].shape)
        for segment, weights, temperature in self.segments:
            chosen = {stream: logits[stream][segment].astype(np.float64) for stream in weights}
            fused[segment] = fuse(chosen, weights) / temperature
        return fused[positions]

    @property
    def weights(self) -> dict[str, float]:
        """Of each stream, the mean over the segments."""
        each = [weights for _, weights, _ in self.segments]
        return {stream: round(float(np.mean([weights[stream] for weights in each])), 6) for stream in each[0]}


NO_GLOSS = -1
"""The prediction for a clip in which nothing could be recognised."""


@dataclass(frozen=True)
class FusedScores:
    """What a fusion says of the clips of a protocol.

    scores: (n, K) fused logits. labels (n,). rank (n,): how many classes came before the label. predicted (n,): the
    best class, or NO_GLOSS.
    """

    protocol: ProtocolClips
    rule: FusionRule
    scores: np.ndarray
    labels: np.ndarray
    rank: np.ndarray
    predicted: np.ndarray


def protocol_clips(plan: DatasetPlan) -> tuple[list[ProtocolClips], np.ndarray]:
    """The protocols that the clips' names or the folder's splits allow, and the clips of validation alone (none where
    neither says). By the official list where it knows the names."""
    clips, spec = plan.clips, plan.spec
    every, none = np.arange(len(clips)), np.array([], int)
    if spec.released == "folds":
        return [ProtocolClips("folds", every)], none
    if official(spec.name) and known_share(clips.names, spec) >= MANY_KNOWN:
        known = official(spec.name)
        splits = np.array([known[clip_key(n)].split if clip_key(n) in known else "" for n in clips.names])
    elif clips.splits:
        splits = np.array(clips.splits)
    elif spec.released == "test":
        return [ProtocolClips("test", every)], none
    else:
        return [ProtocolClips("val+test", every, "clip names are not the official list's: no protocol test")], none
    test, val = np.flatnonzero(splits == "test"), np.flatnonzero(splits == "val")
    if clips.splits and not len(test):
        raise Unscored("no data", f"{clips.folder} has no clip of the split test.")
    both = ProtocolClips("val+test", np.flatnonzero((splits == "test") | (splits == "val")))
    found = [ProtocolClips("test", test), *_clean(plan, test), ProtocolClips("val", val)]
    joined = spec.released == "val+test" and len(test) and len(val)
    return [each for each in found if len(each.positions)] + [both] * bool(joined), val


def _clean(plan: DatasetPlan, test: np.ndarray) -> Iterator[ProtocolClips]:
    """The test clips of which training has no twin, where some have: official lists have the same video twice."""
    try:
        train = read_clip_set(plan.clips.folder, "train")
    except MissingSplit:
        return
    twins = plan.clips.fingerprints[test].found_in(train.fingerprints) >= 0
    if twins.any():
        note = f"without the {twins.sum()} test clips that the training split has too, or nearly"
        yield ProtocolClips("test-clean", test[~twins], note)


def stream_combinations(streams: Sequence[str]) -> list[tuple[str, ...]]:
    """All non-empty combinations, small ones first."""
    return [chosen for size in range(1, len(streams) + 1) for chosen in combinations(streams, size)]


def fused_or_reason(
    plan: DatasetPlan, streams: tuple[str, ...], protocol: ProtocolClips, val: np.ndarray, logits: Logits
) -> Iterator[FusedScores | Unscored]:
    """What each fusion of some streams gives under a protocol, or why one cannot be scored. val: validation clips."""
    try:
        for stream in streams:
            if stream in plan.failed:
                raise plan.failed[stream]
            plan.check_history(stream, protocol.positions, may_choose=protocol.name in ("val", "val+test"))
        for rule in fusion_rules(plan, streams, protocol.name, val, logits):
            yield fused_scores(plan, protocol, rule, logits)
    except Unscored as reason:
        yield reason


def fused_scores(plan: DatasetPlan, protocol: ProtocolClips, rule: FusionRule, logits: Logits) -> FusedScores:
    scores, labels = rule.scores(logits, protocol.positions), plan.clips.labels[protocol.positions]
    return FusedScores(protocol, rule, scores, labels, ranks(scores, labels), scores.argmax(1))


def fusion_rules(
    plan: DatasetPlan, streams: tuple[str, ...], protocol: str, val: np.ndarray, logits: Logits
) -> Iterator[FusionRule]:
    """The fusions of some streams under a protocol. `fitted` never looks at the clips that it is scored on."""
    every = np.arange(len(plan.clips))
    if len(streams) == 1:
        yield FusionRule("none", [(every, {streams[0]: 1.0}, 1.0)])
        return
    if plan.spec.fusion:
        published = {stream: plan.spec.fusion[STREAMS.index(stream)] for stream in streams}
        yield FusionRule("published", [(every, published, 1.0)], "on the reported split, by its authors", TUNED)
    yield FusionRule("equal", [(every, dict.fromkeys(streams, 1.0 / len(streams)), 1.0)])
    if plan.run is not None:
        yield _fitted_by_fold(plan, streams)
    elif protocol in FITTED_ON_VALIDATION and len(val) >= FEWEST_TO_FIT:
        weights, t = fit_fusion({stream: logits[stream][val] for stream in streams}, plan.clips.labels[val])
        note = f"fitted on the {len(val)} validation clips, temperature {t:.3g}"
        yield FusionRule("fitted", [(every, weights, t)], f"on the {len(val)} validation clips", note)


def _fitted_by_fold(plan: DatasetPlan, streams: tuple[str, ...]) -> FusionRule:
    assert plan.run is not None
    clips = list(SelectedClips(plan.clips, range(len(plan.clips)), plan.clips.glosses))
    segments = []
    for fold in np.unique(plan.clips.folds).tolist():
        weights, temperature = fit_on_inner_fold(plan.run, clips, fold, streams)
        segments.append((np.flatnonzero(plan.clips.folds == fold), weights, temperature))
    temperatures = ", ".join(f"{temperature:.3g}" for _, _, temperature in segments)
    note = f"fitted for each fold on another one (mean shown), temperatures {temperatures}"
    return FusionRule("fitted", segments, "for each fold on another one", note)
