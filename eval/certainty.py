"""What a score means, into a weights folder that is published already: how often an answer as sure was right.

    python eval/certainty.py weights/asl118 --run runs/asl118 --data data/asl_everyday data/WLASL100
    python eval/certainty.py weights/WLASL100 --run weights/WLASL100 --data data/WLASL100
    python eval/certainty.py weights/libras11 --run leaderboard/results/scores/libras11

By the clips that the fusion was fitted on, which the networks had not seen: of a cross-validation its held-out folds,
of a benchmark its validation clips. `eval/publish.py` measures the same of a folder that it publishes. Where the
networks of a cross-validation are gone, the scores that `eval/run_all.py` kept of it will do. A folder whose fusion
those clips do not give is refused; only `certainty` in its ensemble.json, and the manifest beside it, is changed.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import softmax

from dsta.checkpoint import ENSEMBLE_FILE, Ensemble, write_manifest
from dsta.common import UserError, exit_code, read_json, replace_file
from dsta.metrics import certainty_steps, fit_fusion, hits
from dsta.streams import fuse
from dsta.train.runs import HeldOut
from eval.material import material_of
from leaderboard.results import OUT, STREAMS
from leaderboard.scores import kept_arrays

_RULE = "share of right answers by the best score, each clip counting the same; steps on few clips are joined"
_APART = 0.005  # how far a fusion weight may lie from the folder's: the kept scores are of half precision


def set_balance(held: HeldOut) -> np.ndarray:
    """(N,) the weight of each clip: the sets count the same."""
    _, place, count = np.unique(held.sets, return_inverse=True, return_counts=True)
    return np.asarray(1 / count[place])


def certainty(
    held: HeldOut, known_people: np.ndarray, fusion: Mapping[str, float], temperature: float
) -> dict[str, Any]:
    """As `ensemble.json` has it and `dsta.checkpoint.Certainty` reads it.

    known_people: (N,) bool, whether the networks may have seen the people of each clip in others.
    """
    fused = fuse(held.logits, fusion) / temperature
    confidence, right = softmax(fused, axis=1).max(1), hits(fused, held.labels, 1)
    steps = certainty_steps(confidence, right)
    of = np.searchsorted([step.start for step in steps], confidence, "right") - 1
    known = np.bincount(of, known_people, len(steps)).astype(int)
    rows = [
        {"from": round(step.start, 4), "right": round(step.right, 4), "clips": step.clips, "known_people": int(people)}
        for step, people in zip(steps, known, strict=True)
    ]
    return {"steps": rows, "rule": _RULE}


def kept_scores(folder: Path) -> HeldOut:
    """What the networks of a cross-validation said of the folds that they had not seen, from the scores that were kept.

    Raises UserError for those of a set without folds.
    """
    kept = kept_arrays(folder)
    if not (kept["fold_of"] >= 0).all() or any(f"logits_{stream}" not in kept for stream in STREAMS):
        raise UserError(f"{folder} holds no scores of held-out folds: give the run, or the benchmark's weights folder.")
    logits = {stream: kept[f"logits_{stream}"].astype(np.float64) for stream in STREAMS}
    names = np.array([f"{folder.resolve().name}/{i}" for i in range(len(kept["labels"]))])
    return HeldOut(names, kept["labels"].astype(int), logits, kept["glosses"].tolist(), np.ones(len(names)))


def add_certainty(weights: Path, run: Path, data: Sequence[Path], results: Path) -> None:
    """Measures it by the clips of a run, for the fusion in the folder, and writes it there. Raises UserError."""
    if (run / "scores.npz").exists():
        held = kept_scores(run)
        known = np.zeros(len(held.names), bool)
    else:
        material = material_of(run, data, results)
        held, known = material.held, material.known_people
    ensemble, said = Ensemble.load(weights), read_json(weights / ENSEMBLE_FILE)
    fitted, _ = fit_fusion(held.logits, held.labels, set_balance(held))
    if list(ensemble.glosses) != list(held.glosses) or any(
        abs(fitted[stream] - ensemble.fusion.get(stream, 0.0)) > _APART for stream in fitted
    ):
        raise UserError(
            f"The fusion in {weights} was not fitted on the clips of {run}: publish the folder by eval/publish.py."
        )
    said["certainty"] = certainty(held, known, ensemble.fusion, ensemble.temperature)
    replace_file(weights / ENSEMBLE_FILE, (json.dumps(said, indent=1) + "\n").encode())
    write_manifest(weights.parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python eval/certainty.py", description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="the published folder")
    run = "what eval/crossval.py filled, STREAM folders of a benchmark, or the kept scores of a cross-validation"
    parser.add_argument("--run", required=True, type=Path, metavar="DIR", help=run)
    parser.add_argument(
        "--data", nargs="*", default=[], type=Path, metavar="DIR", help="the sets; not with kept scores"
    )
    parser.add_argument("--results", type=Path, default=OUT, metavar="DIR", help="default: leaderboard/results")
    args = parser.parse_args(arguments)
    return exit_code(lambda: add_certainty(args.weights, args.run, args.data, args.results))


if __name__ == "__main__":
    sys.exit(main())
