"""Which clips count under a protocol, and how streams are fused there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dsta.data import clip_key, official
from dsta.data.benchmarks import MANY_KNOWN, known_share
from dsta.metrics import fit_fusion, ranks
from dsta.streams import fuse
from eval.plan import InnerFusion, Plan, Unscored
from leaderboard.results import STREAMS

TUNED = "fusion weights tuned on the reported split by their authors"


FEWEST_TO_FIT = 50  # validation clips


Logits = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ProtocolClips:
    """A protocol, and which clips count in it."""

    protocol: str
    clips: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class FusionRule:
    """A fusion: per segment of the clips (positions) the streams' weights and the temperature."""

    fusion: str
    segments: list[tuple[np.ndarray, dict[str, float], float]]
    note: str = ""

    def scores(self, logits: Logits, clips: np.ndarray) -> np.ndarray:
        """(clips, K) float64 fused logits over the temperature."""
        some = next(iter(self.segments[0][1]))
        fused = np.empty(logits[some].shape)
        for positions, weights, temperature in self.segments:
            chosen = {stream: logits[stream][positions].astype(np.float64) for stream in weights}
            fused[positions] = fuse(chosen, weights) / temperature
        return fused[clips]

    @property
    def weights(self) -> dict[str, float]:
        """Of each stream, the mean over the segments."""
        each = [weights for _, weights, _ in self.segments]
        return {stream: round(float(np.mean([weights[stream] for weights in each])), 6) for stream in each[0]}


def protocol_clips(plan: Plan) -> tuple[list[ProtocolClips], np.ndarray]:
    """The protocols that the clips' names or the folder's splits allow, and the clips of validation alone (none where
    neither says). By the official list where it knows the names."""
    held, spec = plan.held, plan.spec
    every, none = np.arange(len(held)), np.array([], int)
    if spec.released == "folds":
        return [ProtocolClips("folds", every)], none
    if official(spec.name) and known_share(held.names, spec) >= MANY_KNOWN:
        known = official(spec.name)
        splits = np.array([known[clip_key(n)].split if clip_key(n) in known else "" for n in held.names])
    elif held.splits:
        splits = np.array(held.splits)
    elif spec.released == "test":
        return [ProtocolClips("test", every)], none
    else:
        return [ProtocolClips("val+test", every, "clip names are not the official list's: no protocol test")], none
    test, val = np.flatnonzero(splits == "test"), np.flatnonzero(splits == "val")
    if held.splits and not len(test):
        raise Unscored("no data", f"{held.folder} has no clip of the split test.")
    both = ProtocolClips("val+test", np.flatnonzero((splits == "test") | (splits == "val")))
    joined = spec.released == "val+test" and len(test) and len(val)
    return [ProtocolClips("test", test)] * bool(len(test)) + [both] * bool(joined), val


def fusion_rules(
    plan: Plan, streams: tuple[str, ...], protocol: str, val: np.ndarray, logits: Logits
) -> Iterator[FusionRule]:
    """The fusions of some streams under a protocol. `fitted` never looks at the clips that it is scored on."""
    every = np.arange(len(plan.held))
    if len(streams) == 1:
        yield FusionRule("none", [(every, {streams[0]: 1.0}, 1.0)])
        return
    if plan.spec.fusion:
        published = {stream: plan.spec.fusion[STREAMS.index(stream)] for stream in streams}
        yield FusionRule("published", [(every, published, 1.0)], TUNED)
    yield FusionRule("equal", [(every, dict.fromkeys(streams, 1.0 / len(streams)), 1.0)])
    if plan.run is not None:
        yield _fitted_by_fold(plan, streams)
    elif protocol == "test" and len(val) >= FEWEST_TO_FIT:
        weights, t = fit_fusion({stream: logits[stream][val] for stream in streams}, plan.held.labels[val])
        yield FusionRule(
            "fitted", [(every, weights, t)], f"fitted on the {len(val)} validation clips, temperature {t:.3g}"
        )


def _fitted_by_fold(plan: Plan, streams: tuple[str, ...]) -> FusionRule:
    inner, segments = InnerFusion(plan.run, plan.held), []
    try:
        for fold in np.unique(plan.held.folds):
            weights, temperature = inner.fit(int(fold), streams)
            segments.append((np.flatnonzero(plan.held.folds == fold), weights, temperature))
    except Unscored as error:
        raise Unscored(error.status, str(error), "fitted") from error
    temperatures = ", ".join(f"{temperature:.3g}" for _, _, temperature in segments)
    return FusionRule(
        "fitted", segments, f"fitted for each fold on another one (mean shown), temperatures {temperatures}"
    )


def stream_combinations(streams: Sequence[str]) -> list[tuple[str, ...]]:
    """All non-empty combinations, small ones first."""
    return [chosen for size in range(1, len(streams) + 1) for chosen in combinations(streams, size)]


@dataclass(frozen=True)
class Fused:
    """A fusion under a protocol: its logits (n, K), the labels (n,), and of each clip how many classes came first."""

    reading: ProtocolClips
    mix: FusionRule
    fused: np.ndarray
    labels: np.ndarray
    rank: np.ndarray
    predicted: np.ndarray


def fused_scores(plan: Plan, reading: ProtocolClips, mix: FusionRule, logits: Logits) -> Fused:
    fused, labels = mix.scores(logits, reading.clips), plan.held.labels[reading.clips]
    return Fused(reading, mix, fused, labels, ranks(fused, labels), fused.argmax(1))
