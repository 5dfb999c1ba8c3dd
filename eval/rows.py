"""From a data set's logits to its rows: protocols, fusions, figures with intervals, counts of each gloss."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsta.common import file_sha256, write_npz
from dsta.data import ClipSet, clip_key, official
from dsta.metrics import figures, wilson, with_bounds
from dsta.train.runs import CrossValidation
from eval.cache import Scored
from eval.clock import largest
from eval.doctor import verdict
from eval.plan import DatasetPlan, Unscored, networks_sha256
from eval.protocols import NO_GLOSS, FusedScores, Logits, fused_scores
from eval.robustness import Disturbance
from leaderboard.results import hash_lines, key, made_by, streams_name

Record = dict[str, Any]


class DatasetRows(NamedTuple):
    """What a data set adds to the files of results, of gloss counts, and of disturbed clips."""

    results: list[Record]
    glosses: list[Record]
    robustness: list[Record]


@dataclass(frozen=True)
class StreamScores:
    """Logits (N, K) of a stream within the set's classes, pooled over folds; `parts` are its networks' scorings."""

    logits: np.ndarray
    parts: list[Scored]


def result_row(plan: DatasetPlan, fused: FusedScores, scores: Mapping[str, StreamScores], provenance: Record) -> Record:
    """The row of a fusion under a protocol. scores: of the streams in it."""
    parts = {stream: s.parts for stream, s in scores.items()}
    every = [part for each in parts.values() for part in each]
    seconds = sum(part.seconds for part in every)
    first, last = every[0], max(every, key=lambda part: part.date)
    return {
        **_key(plan, fused, scores),
        "status": "ok",
        "reason": "",
        **row_figures(plan, fused),
        "clips_per_second": len(plan.clips) / seconds,
        "peak_memory_mb": largest(part.peak_memory_mb for part in every),
        "parameters": sum(each[0].parameters for each in parts.values()),
        "latency_ms": float(sum(np.median([part.latency_ms for part in each]) for each in parts.values())),
        "fusion_weights": json.dumps(fused.rule.weights),
        "selection": plan.selection(tuple(scores), fused.protocol.positions, fused.rule.chosen),
        "note": " ".join(filter(None, _notes(plan, fused, scores, every, provenance["commit"]))),
        "device": first.device,
        "dtype": first.dtype,
        "torch": first.torch,
        "recipe": _recipe(plan, tuple(scores)),
        **_run(plan.run),
        **weights_hash(plan, tuple(scores)),
        **provenance,
        **made_by(last.commit, last.date),
        "seconds": seconds,
    }


def row_figures(plan: DatasetPlan, fused: FusedScores) -> Record:
    """The accuracies with their intervals, and how these were found."""
    clusters, kind = plan.clips.clusters
    of_clips = clusters[fused.protocol.positions] if kind else clusters
    count = len(np.unique(of_clips))
    if count < 2:
        return {**figures(fused.scores, fused.labels, fused.rank), "interval": "Wilson; per class: bootstrap, glosses"}
    found = figures(fused.scores, fused.labels, fused.rank, of_clips)
    return {**found, "interval": f"bootstrap over {count} {kind}, Wilson at least"}


def _run(run: CrossValidation | None) -> Record:
    if run is None:
        return {}
    hashes = {path.name: file_sha256(path) for path in run.files}
    return {"run": run.folder.resolve().name, "run_sha256": hash_lines(hashes)}


def _notes(
    plan: DatasetPlan, fused: FusedScores, streams: Iterable[str], parts: Sequence[Scored], commit: str
) -> Iterator[str]:
    """commit: of the code that computes the row's figures, the logits' being each part's."""
    protocol = fused.protocol
    yield from (f"{note[0].upper()}{note[1:]}." for note in (fused.rule.note, protocol.note) if note)
    expected = plan.spec.size(protocol.name)
    if protocol.name != plan.spec.released and expected not in (None, len(protocol.positions)):
        yield f"{len(protocol.positions)} clips, where the official list has {expected}."
    yield from plan.history_notes(streams, protocol.positions)
    yield from plan.warnings
    yield verdict(fused.scores, fused.labels)
    if any(part.commit.rstrip("+") != commit for part in parts):
        yield f"Kept logits; the figures are computed from them by the code of commit {commit}."


def unscored_row(dataset: str, protocol: str, streams: Sequence[str], why: Unscored, provenance: Record) -> Record:
    """The row of what could not be scored: its status and reason."""
    fusion = why.fusion or ("none" if len(streams) == 1 else "equal")
    row = {"dataset": dataset, "protocol": protocol, "streams": streams_name(streams), "fusion": fusion}
    return {**row, "status": why.status, "reason": str(why), **provenance}


def gloss_rows(plan: DatasetPlan, fused: FusedScores, streams: Sequence[str]) -> list[Record]:
    """Per gloss: clips, hits, and the wrong gloss that it was most often taken for. Counts only, no clip names."""
    names, labels, rows = gloss_names(plan), fused.labels, []
    order = np.argsort(labels, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        label = int(labels[own[0]])
        predicted = fused.predicted[own]
        taken = np.bincount(predicted[(predicted != label) & (predicted != NO_GLOSS)], minlength=1)
        row = {
            "gloss": names[label],
            "n": len(own),
            "hits1": int((fused.rank[own] < 1).sum()),
            "hits5": int((fused.rank[own] < 5).sum()),
            "confused_with": names[int(taken.argmax())] if taken.any() else "",
            "confused_count": int(taken.max()),
        }
        rows.append({**_key(plan, fused, streams), **row})
    return rows


def gloss_names(plan: DatasetPlan) -> list[str]:
    """The classes' names: the set's own, else those of the official clips with that label, else the weights'."""
    if plan.clips.glosses:
        return list(plan.clips.glosses)
    names = list(next(iter(plan.networks.values()))[0].config["glosses"])
    known = official(plan.spec.name)
    for name, label in zip(plan.clips.names, plan.clips.labels, strict=True):
        if clip_key(name) in known:
            names[label] = known[clip_key(name)].gloss
    return names


def robustness_rows(
    plan: DatasetPlan,
    fused: FusedScores,
    streams: Sequence[str],
    disturbed: Mapping[Disturbance | None, Logits],
    origin: Record,
) -> list[Record]:
    """Top-1 of one fusion on clips as they are (`none`) and disturbed, with the weights for clips as they are."""
    rows = []
    for disturbance, logits in disturbed.items():
        hit = fused_scores(plan, fused.protocol, fused.rule, logits).rank < 1
        low, high = wilson(int(hit.sum()), len(hit))
        kind, level = (disturbance.kind, disturbance.level) if disturbance else ("none", 0.0)
        top1 = dict(zip(with_bounds("top1_instance"), (float(hit.mean()), low, high), strict=True))
        place = {"disturbance": kind, "level": level, "n": len(hit)}
        rows.append({**_key(plan, fused, streams), **place, **top1, **origin, **weights_hash(plan, streams)})
    return rows


def predictions_file(cache: Path, row: Mapping[str, Any]) -> Path:
    """Where the predictions behind a row are kept, clip by clip, for `eval/compare.py`."""
    return cache / "rows" / ("__".join(key(row)) + ".npz")


def save_predictions(cache: Path, row: Record, clips: ClipSet, fused: FusedScores) -> None:
    """Keeps what a row says of each clip: how many classes came before the right one, and which came first."""
    positions = fused.protocol.positions
    write_npz(
        predictions_file(cache, row),
        names=np.array([clips.names[i] for i in positions]),
        labels=fused.labels,
        rank=fused.rank,
        predicted=fused.predicted,
        clusters=clips.clusters[0][positions] if clips.clusters[1] else np.array([]),
        kind=np.array(clips.clusters[1]),
        weights_sha256=np.array(row["weights_sha256"]),
        data_sha256=np.array(row["data_sha256"]),
    )


def _key(plan: DatasetPlan, fused: FusedScores, streams: Sequence[str] | Mapping[str, Any]) -> Record:
    return {
        "dataset": plan.spec.name,
        "protocol": fused.protocol.name,
        "streams": streams_name(streams),
        "fusion": fused.rule.name,
    }


def _recipe(plan: DatasetPlan, streams: tuple[str, ...]) -> str:
    recipes = {stream: plan.networks[stream][0].config["recipe"] for stream in streams}
    first = recipes[streams[0]]
    return json.dumps(first if all(recipe == first for recipe in recipes.values()) else recipes)


def weights_hash(plan: DatasetPlan, streams: Sequence[str]) -> Record:
    """The column weights_sha256; none where a stream has no network that fits."""
    if not set(streams) <= set(plan.networks):
        return {}
    return {"weights_sha256": networks_sha256(network for stream in streams for network in plan.networks[stream])}
