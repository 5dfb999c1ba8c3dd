"""From a data set's logits to its rows: protocols, fusions, figures with intervals, counts of each gloss."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsta.common import write_npz
from dsta.data import ClipSet, clip_key, official
from dsta.metrics import (
    figures,
    wilson,
    with_bounds,
)
from eval.cache import Scored
from eval.doctor import verdict
from eval.plan import Plan, Unscored
from eval.protocols import Fused, Logits, fused_scores
from eval.robustness import Disturbance
from leaderboard.results import hash_lines, made_by, streams_name

Record = dict[str, Any]


@dataclass(frozen=True)
class StreamScores:
    """Logits (N, K) of a stream within the set's classes, pooled over folds; `parts` are its networks' scorings."""

    logits: np.ndarray
    parts: list[Scored]


def result_row(plan: Plan, judged: Fused, scores: Mapping[str, StreamScores], provenance: Record) -> Record:
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


def _notes(plan: Plan, judged: Fused) -> Iterator[str]:
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
    if any(part.commit.rstrip("+") != commit for part in parts):
        yield f"Kept logits; the figures are computed from them by the code of commit {commit}."


def unscored_row(spec_name: str, protocol: str, streams: Sequence[str], why: Unscored, provenance: Record) -> Record:
    """The row of what could not be scored: its status and reason."""
    fusion = why.fusion or ("none" if len(streams) == 1 else "equal")
    row = {"dataset": spec_name, "protocol": protocol, "streams": streams_name(streams), "fusion": fusion}
    return {**row, "status": why.status, "reason": str(why), **provenance}


def gloss_rows(plan: Plan, judged: Fused, streams: Sequence[str]) -> list[Record]:
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
    plan: Plan, judged: Fused, streams: Sequence[str], disturbed: Mapping[Disturbance | None, Logits]
) -> list[Record]:
    """Top-1 of one fusion on clips as they are (`none`) and disturbed, with the weights for clips as they are."""
    rows = []
    for disturbance, logits in disturbed.items():
        hit = fused_scores(plan, judged.reading, judged.mix, logits).rank < 1
        low, high = wilson(int(hit.sum()), len(hit))
        rows.append(
            {
                **_key(plan, judged, streams),
                "disturbance": disturbance.kind if disturbance else "none",
                "level": disturbance.level if disturbance else 0.0,
                "n": len(hit),
                **dict(zip(with_bounds("top1_instance"), (float(hit.mean()), low, high), strict=True)),
            }
        )
    return rows


def predictions_file(cache: Path, row: Mapping[str, Any]) -> Path:
    """Where the predictions behind a row are kept, clip by clip, for `eval/compare.py`."""
    return cache / "rows" / ("__".join(str(row[c]) for c in ("dataset", "protocol", "streams", "fusion")) + ".npz")


def save_predictions(cache: Path, row: Record, held: ClipSet, judged: Fused) -> None:
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


def _key(plan: Plan, judged: Fused, streams: Sequence[str] | Mapping[str, Any]) -> Record:
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
