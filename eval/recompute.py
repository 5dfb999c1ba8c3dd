"""The rows of the table once more, from the scores that ship with it: no data, no weights, no GPU.

    python eval/recompute.py [NAMES …] [--results leaderboard/results]

`run_all` keeps the scores of a data set in RESULTS/scores/NAME/ when it has scored all four streams: `scores.npz`, and
of a cross-validation its `run.json` and `chosen.json`. `scores.npz` holds, of the clips, `names` (only where they are
those of a public official list), `labels`, `fold_of`, `clusters` (whose take it is, numbered; empty where unknown;
`kind` says what these are), `PROTOCOL` and `val` (positions), `glosses` (of the classes),
`logits_STREAM` in half precision, `hash_STREAM` (of the weights) and, of each fold F whose fusion was fitted on another
one, what the judges said there: `judge_F_STREAM`, `judge_F_labels`, `judge_F_stands_for`. Half precision may move clips
in near ties, so a row's figures may lie a little apart.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dsta.common import UserError, exit_code, replace_files, write_npz
from dsta.data import SelectedClips, clip_key, official
from dsta.metrics import figures
from dsta.train.runs import CrossValidation, held_out
from eval.plan import DatasetPlan, networks_sha256
from eval.protocols import Logits, ProtocolClips
from eval.rows import gloss_names
from leaderboard.results import (
    OUT,
    RATES,
    RESULTS_FILE,
    SCORES_FOLDER,
    STREAMS,
    SUBMITTED_COLUMNS,
    SUBMITTED_FILE,
    Row,
    key,
    read_rows,
)
from leaderboard.scores import RowScores, measured_scores, submitted_scores

MOST_BYTES = 4_000_000  # of a set's logits; of larger ones nothing is kept
CLIPS_APART, LOSS_APART = 2.5, 0.01  # how far a recomputed row may lie from its own: shares, in clips; losses, in nats


def keep_scores(
    results: Path, plan: DatasetPlan, logits: Logits, protocols: Sequence[ProtocolClips], val: np.ndarray
) -> None:
    """Keeps what the rows of a data set are made of, unless it lacks a stream or is too large."""
    if set(logits) != set(STREAMS) or 2 * sum(each.size for each in logits.values()) > MOST_BYTES:
        return
    clusters, kind = plan.clips.clusters
    arrays: dict[str, np.ndarray] = {f"logits_{stream}": each.astype(np.float16) for stream, each in logits.items()}
    arrays |= {f"hash_{stream}": np.array(networks_sha256(plan.networks[stream])) for stream in logits}
    arrays |= {protocol.name: protocol.positions for protocol in protocols}
    arrays |= {"val": val, "labels": plan.clips.labels, "fold_of": plan.clips.folds}
    arrays["clusters"] = np.unique(clusters, return_inverse=True)[1] if kind else np.array([], int)
    arrays |= {"kind": np.array(kind), "glosses": np.array(gloss_names(plan))}
    arrays |= official_names(plan)
    small = {name: each.astype(np.int16) if each.dtype.kind == "i" else each for name, each in arrays.items()}
    folder = results / SCORES_FOLDER / plan.spec.name
    folder.mkdir(parents=True, exist_ok=True)
    if plan.run is not None:
        small |= _judges(plan, plan.run)
        replace_files({folder / path.name: path.read_bytes() for path in plan.run.files})
    write_npz(folder / "scores.npz", **small)


def official_names(plan: DatasetPlan) -> dict[str, np.ndarray]:
    """The array `names`, where the official list, which is public, names all clips; else none."""
    known, names = official(plan.spec.name) if plan.spec.facts else {}, [clip_key(name) for name in plan.clips.names]
    return {"names": np.array(names)} if known and all(name in known for name in names) else {}


def _judges(plan: DatasetPlan, run: CrossValidation) -> dict[str, np.ndarray]:
    """What the networks that saw neither a fold nor its inner one say of the inner one's clips."""
    clips = list(SelectedClips(plan.clips, range(len(plan.clips)), plan.clips.glosses))
    found: dict[str, np.ndarray] = {}
    for fold, choice in (run.choices() if run.choices_file.exists() else {}).items():
        if choice.inner_fold in (None, fold):
            continue
        with suppress(UserError):  # where a judge is missing no fusion was fitted, and its row says so
            networks = {stream: run.judge(clips[0].dataset, fold, choice.inner_fold, stream) for stream in STREAMS}
            held = held_out(networks, choice.epoch, clips, choice.inner_fold)
            found |= {f"judge_{fold}_{stream}": logits.astype(np.float16) for stream, logits in held.logits.items()}
            found |= {f"judge_{fold}_labels": held.labels.astype(np.int16)}
            found |= {f"judge_{fold}_stands_for": held.stands_for.astype(np.float32)}
    return found


def recomputed(results: Path, row: Mapping[str, str]) -> dict[str, Any]:
    """The figures of a row, from its data set's scores. Raises UserError where they are not there, or of others."""
    return _figures(measured_scores(results, row))


def _figures(said: RowScores) -> dict[str, Any]:
    return figures(said.scores, said.labels, said.rank, said.clusters if said.kind else None)


def differences(row: Row, found: Mapping[str, Any]) -> list[str]:
    """The columns of a row from which the recomputed figures differ by more than half precision explains."""
    apart = CLIPS_APART / int(row["n"])
    allowed = {rate + end: apart for rate in RATES if rate.endswith("instance") for end in ("", "_lo", "_hi")}
    allowed |= {rate: len(RATES) * apart for rate in RATES if rate.endswith("class")}
    allowed |= {"log_loss": LOSS_APART, "ece": LOSS_APART}
    return [name for name, most in allowed.items() if abs(float(row[name]) - found[name]) > most]


def recompute(results: Path, names: Sequence[str]) -> None:
    """Says of each data set whether its rows are what its scores give. Raises UserError when one is not."""
    rows = [row for row in read_rows(results / RESULTS_FILE) if row["status"] == "ok"]
    kept = sorted(path.parent.name for path in (results / SCORES_FOLDER).glob("*/scores.npz"))
    for name in names or kept:
        own = [row for row in rows if row["dataset"] == name and not row["protocol"].endswith("-videos")]
        for row in own:
            _check(row, recomputed(results, row), ":".join(key(row)))
        print(f"{name}: {len(own)} rows are what the scores give")
    sent = read_rows(results / SUBMITTED_FILE, SUBMITTED_COLUMNS)
    sent = [row for row in sent if row["dataset"] in (names or {row["dataset"]})]
    for row in sent:
        _check(row, _figures(submitted_scores(results, row)), f"{row['system']}, {row['dataset']},")
    if sent:
        print(f"{len(sent)} submitted rows are what their predictions give")
    without = sorted({row["dataset"] for row in rows} - {*kept})
    if without and not names:
        print(f"No scores are kept of {', '.join(without)}.")


def _check(row: Row, found: Mapping[str, Any], who: str) -> None:
    wrong = differences(row, found)
    if wrong:
        raise UserError(f"{who} is not what its scores give: {', '.join(wrong)}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python eval/recompute.py", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets; by default all whose scores are kept")
    parser.add_argument("--results", type=Path, default=OUT, metavar="DIR", help="default: leaderboard/results")
    args = parser.parse_args(arguments)
    return exit_code(lambda: recompute(args.results, args.names))


if __name__ == "__main__":
    sys.exit(main())
