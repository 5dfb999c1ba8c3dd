"""From a data set's logits to its rows: protocols, fusions, figures with intervals, counts of each gloss."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from dsta.data import Held
from dsta.datasets import clip_key, official
from dsta.files import write_npz
from dsta.metrics import calibration_error, class_bootstrap, class_rates, fit_fusion, log_loss, ranks, wilson
from dsta.streams import fuse
from eval.doctor import MANY, known_share, verdict
from eval.load import BUSY
from eval.networks import InnerFusion, Plan, Unscored
from eval.results import OTHER_WORK, STREAMS, hash_lines, made_by, streams_name
from eval.robustness import Disturbance
from eval.scoring import Scored

TUNED = "fusion weights tuned on the reported split by their authors"
FEWEST_TO_FIT = 50  # validation clips

Logits = Mapping[str, np.ndarray]
Record = dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """Logits (N, K) of a stream within the set's classes, pooled over folds; `parts` are its networks' scorings."""

    logits: np.ndarray
    parts: list[Scored]


@dataclass(frozen=True)
class Reading:
    """A protocol, and which clips count in it."""

    protocol: str
    clips: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class Mix:
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


def readings(plan: Plan) -> tuple[list[Reading], np.ndarray]:
    """The protocols that the clips' names or the folder's splits allow, and the clips of validation alone (none where
    neither says). By the official list where it knows the names."""
    held, spec = plan.held, plan.spec
    every, none = np.arange(len(held)), np.array([], int)
    if spec.released == "folds":
        return [Reading("folds", every)], none
    if official(spec.name) and known_share(held.names, spec) >= MANY:
        known = official(spec.name)
        splits = np.array([known[clip_key(n)].split if clip_key(n) in known else "" for n in held.names])
    elif held.splits:
        splits = np.array(held.splits)
    elif spec.released == "test":
        return [Reading("test", every)], none
    else:
        return [Reading("val+test", every, "clip names are not the official list's: no protocol test")], none
    test, val = np.flatnonzero(splits == "test"), np.flatnonzero(splits == "val")
    if held.splits and not len(test):
        raise Unscored("no data", f"{held.folder} has no clip of the split test.")
    both = Reading("val+test", np.flatnonzero((splits == "test") | (splits == "val")))
    joined = spec.released == "val+test" and len(test) and len(val)
    return [Reading("test", test)] * bool(len(test)) + [both] * bool(joined), val


def mixes(plan: Plan, streams: tuple[str, ...], protocol: str, val: np.ndarray, logits: Logits) -> Iterator[Mix]:
    """The fusions of some streams under a protocol. `fitted` never looks at the clips that it is scored on."""
    every = np.arange(len(plan.held))
    if len(streams) == 1:
        yield Mix("none", [(every, {streams[0]: 1.0}, 1.0)])
        return
    if plan.spec.fusion:
        published = {stream: plan.spec.fusion[STREAMS.index(stream)] for stream in streams}
        yield Mix("published", [(every, published, 1.0)], TUNED)
    yield Mix("equal", [(every, dict.fromkeys(streams, 1.0 / len(streams)), 1.0)])
    if plan.run is not None:
        yield _fitted_by_fold(plan, streams)
    elif protocol == "test" and len(val) >= FEWEST_TO_FIT:
        weights, t = fit_fusion({stream: logits[stream][val] for stream in streams}, plan.held.labels[val])
        yield Mix("fitted", [(every, weights, t)], f"fitted on the {len(val)} validation clips, temperature {t:.3g}")


def _fitted_by_fold(plan: Plan, streams: tuple[str, ...]) -> Mix:
    inner, segments = InnerFusion(plan.run, plan.held), []
    try:
        for fold in np.unique(plan.held.folds):
            weights, temperature = inner.fit(int(fold), streams)
            segments.append((np.flatnonzero(plan.held.folds == fold), weights, temperature))
    except Unscored as error:
        raise Unscored(error.status, str(error), "fitted") from error
    temperatures = ", ".join(f"{temperature:.3g}" for _, _, temperature in segments)
    return Mix("fitted", segments, f"fitted for each fold on another one (mean shown), temperatures {temperatures}")


def combos(streams: Sequence[str]) -> list[tuple[str, ...]]:
    """All non-empty combinations, small ones first."""
    return [chosen for size in range(1, len(streams) + 1) for chosen in combinations(streams, size)]


@dataclass(frozen=True)
class Judged:
    """A fusion under a protocol: its logits (n, K), the labels (n,), and of each clip how many classes came first."""

    reading: Reading
    mix: Mix
    fused: np.ndarray
    labels: np.ndarray
    rank: np.ndarray
    predicted: np.ndarray


def judge(plan: Plan, reading: Reading, mix: Mix, logits: Logits) -> Judged:
    fused, labels = mix.scores(logits, reading.clips), plan.held.labels[reading.clips]
    return Judged(reading, mix, fused, labels, ranks(fused, labels), fused.argmax(1))


def figures(scores: np.ndarray, labels: np.ndarray, rank: np.ndarray) -> Record:
    """The four accuracies of logits (N, K) with 95 % intervals, log-loss and calibration error."""
    found: Record = {"n": len(labels), "num_classes": len(np.unique(labels))}
    for k in (1, 5):
        hit = rank < k
        low, high = wilson(int(hit.sum()), len(hit))
        share = float(hit.mean())
        found |= dict(zip(_triple(f"top{k}_instance"), (share, min(low, share), max(high, share)), strict=True))
        rates = class_rates(hit, labels)
        found |= dict(zip(_triple(f"top{k}_class"), (float(rates.mean()), *class_bootstrap(rates)), strict=True))
    return found | {"log_loss": log_loss(scores, labels), "ece": calibration_error(scores, labels)}


def _triple(name: str) -> tuple[str, str, str]:
    return name, f"{name}_lo", f"{name}_hi"


def result_row(plan: Plan, judged: Judged, scores: Mapping[str, Scores], provenance: Record) -> Record:
    """The row of a fusion under a protocol. scores: of the streams in it."""
    parts = {stream: s.parts for stream, s in scores.items()}
    every = [part for each in parts.values() for part in each]
    seconds, peaks = sum(part.seconds for part in every), [part.peak_memory_mb for part in every]
    first, last = every[0], max(every, key=lambda part: part.date)
    return {
        **_key(plan, judged, scores),
        "status": "ok",
        "reason": "",
        **figures(judged.fused, judged.labels, judged.rank),
        "clips_per_second": len(plan.held) / seconds,
        "peak_memory_mb": None if None in peaks else max(peaks),
        "parameters": sum(each[0].parameters for each in parts.values()),
        "latency_ms": float(sum(np.median([part.latency_ms for part in each]) for each in parts.values())),
        "fusion_weights": json.dumps(judged.mix.weights),
        "note": " ".join(filter(None, (*_notes(plan, judged), *_notes_on_scoring(every, provenance["commit"])))),
        "device": first.device,
        "dtype": first.dtype,
        "torch": first.torch,
        "recipe": _recipe(plan, tuple(scores)),
        **weights_hash(plan, tuple(scores)),
        **provenance,
        **made_by(last.commit, last.date),
        "seconds": seconds,
    }


def _notes(plan: Plan, judged: Judged) -> Iterator[str]:
    reading, mix = judged.reading, judged.mix
    yield from (f"{note[0].upper()}{note[1:]}." for note in (mix.note, reading.note) if note)
    expected = plan.spec.size(reading.protocol)
    if reading.protocol != plan.spec.released and expected not in (None, len(reading.clips)):
        yield f"{len(reading.clips)} clips, where the official list has {expected}."
    if plan.held.groups:
        yield "Takes of one person are alike, and the per-instance intervals do not allow for it."
    yield from plan.warnings
    yield verdict(judged.fused, judged.labels)


def _notes_on_scoring(parts: Sequence[Scored], commit: str) -> Iterator[str]:
    """commit: of the code that computes the row's figures, the logits' being each part's."""
    others = max((part.others for part in parts if part.others is not None), default=0.0)
    if others > BUSY:
        yield OTHER_WORK.format(others)
    if any(part.commit.rstrip("+") != commit for part in parts):
        yield f"Kept logits; the figures are computed from them by the code of commit {commit}."


def unscored_row(spec_name: str, protocol: str, streams: Sequence[str], why: Unscored, provenance: Record) -> Record:
    """The row of what could not be scored: its status and reason."""
    fusion = why.fusion or ("none" if len(streams) == 1 else "equal")
    row = {"dataset": spec_name, "protocol": protocol, "streams": streams_name(streams), "fusion": fusion}
    return {**row, "status": why.status, "reason": str(why), **provenance}


def gloss_rows(plan: Plan, judged: Judged, streams: Sequence[str]) -> list[Record]:
    """Per gloss: clips, hits, and the wrong gloss that it was most often taken for. Counts only, no clip names."""
    names, labels, rows = gloss_names(plan), judged.labels, []
    order = np.argsort(labels, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        label = int(labels[own[0]])
        wrong = judged.predicted[own][judged.predicted[own] != label]
        taken = np.bincount(wrong, minlength=1)
        rows.append(
            {
                **_key(plan, judged, streams),
                "gloss": names[label],
                "n": len(own),
                "hits1": int((judged.rank[own] < 1).sum()),
                "hits5": int((judged.rank[own] < 5).sum()),
                "confused_with": names[int(taken.argmax())] if len(wrong) else "",
                "confused_count": int(taken.max()),
            }
        )
    return rows


def gloss_names(plan: Plan) -> list[str]:
    """The classes' names: the set's own, else those of the official clips with that label, else the weights'."""
    if plan.held.glosses:
        return list(plan.held.glosses)
    names = list(next(iter(plan.networks.values()))[0].config["glosses"])
    known = official(plan.spec.name)
    for name, label in zip(plan.held.names, plan.held.labels, strict=True):
        if clip_key(name) in known:
            names[label] = known[clip_key(name)].gloss
    return names


def robustness_rows(
    plan: Plan, judged: Judged, streams: Sequence[str], disturbed: Mapping[Disturbance | None, Logits]
) -> list[Record]:
    """Top-1 of one fusion on clips as they are (`none`) and disturbed, with the weights for clips as they are."""
    rows = []
    for disturbance, logits in disturbed.items():
        hit = judge(plan, judged.reading, judged.mix, logits).rank < 1
        low, high = wilson(int(hit.sum()), len(hit))
        rows.append(
            {
                **_key(plan, judged, streams),
                "disturbance": disturbance.kind if disturbance else "none",
                "level": disturbance.level if disturbance else 0.0,
                "n": len(hit),
                **dict(zip(_triple("top1_instance"), (float(hit.mean()), low, high), strict=True)),
            }
        )
    return rows


def predictions_file(cache: Path, row: Mapping[str, Any]) -> Path:
    """Where the predictions behind a row are kept, clip by clip, for `eval/compare.py`."""
    return cache / "rows" / ("__".join(str(row[c]) for c in ("dataset", "protocol", "streams", "fusion")) + ".npz")


def save_predictions(cache: Path, row: Record, held: Held, judged: Judged) -> None:
    """Keeps what a row says of each clip: how many classes came before the right one, and which came first."""
    clips = judged.reading.clips
    write_npz(
        predictions_file(cache, row),
        names=np.array([held.names[i] for i in clips]),
        labels=judged.labels,
        rank=judged.rank,
        predicted=judged.predicted,
        groups=np.array([held.groups[i] for i in clips] if held.groups else [], dtype=np.str_),
        weights_sha256=np.array(row["weights_sha256"]),
        data_sha256=np.array(row["data_sha256"]),
    )


def _key(plan: Plan, judged: Judged, streams: Sequence[str] | Mapping[str, Any]) -> Record:
    return {
        "dataset": plan.spec.name,
        "protocol": judged.reading.protocol,
        "streams": streams_name(streams),
        "fusion": judged.mix.fusion,
    }


def _recipe(plan: Plan, streams: tuple[str, ...]) -> str:
    recipes = {stream: plan.networks[stream][0].config["recipe"] for stream in streams}
    first = recipes[streams[0]]
    return json.dumps(first if all(recipe == first for recipe in recipes.values()) else recipes)


def weights_hash(plan: Plan, streams: Sequence[str]) -> Record:
    """The column weights_sha256; none where a stream has no network that fits."""
    if not set(streams) <= set(plan.networks):
        return {}
    networks = [network for stream in streams for network in plan.networks[stream]]
    if len(networks) == 1:
        return {"weights_sha256": networks[0].sha256}
    return {"weights_sha256": hash_lines({network.name: network.sha256 for network in networks})}
