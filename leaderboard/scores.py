"""The scores that ship with the results, clip by clip: what a row of the table said of each clip.

`run_all` keeps a data set's logits in RESULTS/scores/NAME/scores.npz (eval/recompute.py says what it holds), `submit`
what others predicted in RESULTS/scores/NAME/submitted/. Clips have the names of the official list, or a number where
there is none.
"""

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsta.common import UserError, read_json
from dsta.data import benchmark
from dsta.metrics import fit_fusion, ranks
from dsta.streams import fuse
from leaderboard.pairs import Predictions
from leaderboard.results import FITTED_ON_VALIDATION, SCORES_FOLDER, STREAMS

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class RowScores:
    """What a row said. names, labels, rank, predicted: (n,), rank 0 being right at once; scores: (n, K) fused logits
    over the temperature; glosses: (K,); clusters: (n,) whose take each clip is, empty where that is not known; kind:
    what these are.
    """

    names: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    glosses: np.ndarray
    clusters: np.ndarray
    kind: str = ""

    @property
    def rank(self) -> np.ndarray:
        return ranks(self.scores, self.labels)

    @property
    def predicted(self) -> np.ndarray:
        return self.scores.argmax(1)

    @property
    def predictions(self) -> Predictions:
        return Predictions(self.names, self.rank, self.clusters, self.kind)


def kept_arrays(folder: Path) -> dict[str, np.ndarray]:
    """What a data set's scores.npz holds. Raises UserError."""
    return _read(folder / "scores.npz", "python eval/run_all.py keeps them")


def _read(path: Path, again: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as saved:
            return dict(saved.items())
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"The scores {path.parent.name}/{path.name} cannot be read ({error}): {again}.") from error


def measured_scores(results: Path, row: Mapping[str, Any]) -> RowScores:
    """The scores of a row of results.csv. Raises UserError where they are of other weights or not there."""
    folder, streams, name = results / SCORES_FOLDER / row["dataset"], row["streams"].split("+"), row["dataset"]
    kept = kept_arrays(folder)
    if row["protocol"] not in kept or not all(f"logits_{stream}" in kept for stream in streams):
        raise UserError(f"Of {name}, {row['protocol']}, no scores of single clips are kept.")
    if len(streams) == 1 and str(kept[f"hash_{streams[0]}"]) != row["weights_sha256"]:
        raise UserError(f"{folder} holds scores of other networks than the row of {name}, {streams[0]}.")
    fused = np.empty(kept[f"logits_{streams[0]}"].shape)
    for part, weights, temperature in _segments(row, kept, folder):
        own = {stream: kept[f"logits_{stream}"][part].astype(np.float64) for stream in weights}
        fused[part] = fuse(own, weights) / temperature
    counted, clusters = kept[row["protocol"]].astype(int), kept["clusters"]
    known = len(clusters) and len(np.unique(clusters[counted])) > 1
    return RowScores(
        kept["names"][counted] if "names" in kept else counted.astype(str),
        kept["labels"].astype(int)[counted],
        fused[counted],
        kept["glosses"],
        clusters[counted] if known else np.array([]),
        str(kept.get("kind", "groups")) if known else "",
    )


def _segments(
    row: Mapping[str, Any], kept: Arrays, folder: Path
) -> Iterator[tuple[np.ndarray, dict[str, float], float]]:
    """Positions of clips, with the weights of the streams and the temperature that they are fused with."""
    streams, fusion, name = row["streams"].split("+"), row["fusion"], row["dataset"]
    every = np.arange(len(kept["labels"]))
    if fusion == "published":
        published = dict(zip(STREAMS, benchmark(name).fusion or (), strict=True))
        yield every, {stream: published[stream] for stream in streams}, 1.0
    elif fusion in ("none", "equal"):
        yield every, dict.fromkeys(streams, 1 / len(streams)), 1.0
    elif row["protocol"] in FITTED_ON_VALIDATION:
        val = kept["val"].astype(int)
        yield every, *fit_fusion({s: kept[f"logits_{s}"][val] for s in streams}, kept["labels"][val])
    else:
        for fold, choice in read_json(folder / "chosen.json").items():
            part = np.flatnonzero(kept["fold_of"] == int(fold))
            if set(streams) == set(STREAMS):
                yield part, choice["fusion"][name], choice["temperature"][name]
            else:
                judges = {stream: kept[f"judge_{fold}_{stream}"] for stream in streams}
                yield part, *fit_fusion(judges, kept[f"judge_{fold}_labels"], kept[f"judge_{fold}_stands_for"])


def submitted_file(results: Path, row: Mapping[str, Any]) -> Path:
    """Where a submitted row's predictions are kept."""
    name = re.sub(r"[^\w.-]+", "-", f"{row['protocol']} {row['system']}").strip("-.")
    return results / SCORES_FOLDER / row["dataset"] / "submitted" / f"{name}.npz"


def submitted_scores(results: Path, row: Mapping[str, Any]) -> RowScores:
    """The scores of a row of submitted.csv. Raises UserError where they are others than the row's, or not there."""
    kept = _read(submitted_file(results, row), "python eval/submit.py keeps them")
    if str(kept.get("predictions_sha256")) != row["predictions_sha256"]:
        raise UserError(f"The scores that are kept of {row['system']} are not those of its row.")
    scores = kept["scores"].astype(np.float64)
    labels, clusters = kept["labels"].astype(int), kept["clusters"]
    return RowScores(kept["names"], labels, scores, kept["glosses"], clusters, str(kept["kind"]))
