"""How well a sign outside the vocabulary is told: by networks that do not know some glosses of a data set.

    python eval/unknown.py --data data/WLASL100 --weights runs/fewshot --background data/wlasl_first30

Known are the clips of glosses that the weights know, unknown those of the others (`eval/fewshot.py` says how such
weights are trained). A score is better the more often it is higher for a known clip than for an unknown one; the
threshold that a tenth of the known validation clips do not reach judges the test clips. Compared are the probability of
the answer, the energy of the logits (arXiv 2010.03759), the cosine to the nearest mean of known signs, and the
familiarity, which takes off how much a clip is like the signs in BACKGROUND, of glosses that the data set has not.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score

from dsta.checkpoint import Ensemble, FamiliarSigns, git_commit
from dsta.common import UserError, exit_code, file_sha256
from dsta.data import ClipSet, read_clip_set
from dsta.embedding import familiarity, joint_embedding
from dsta.metrics import fit_fusion
from dsta.score import Scores, score_streams
from dsta.streams import fuse
from eval.familiar import background_clips, fitted_means, threshold_of
from eval.plan import check_unseen, ensemble_networks, networks_sha256
from leaderboard import results
from leaderboard.results import OUT, check_writable, hash_lines, streams_name


def known_scores(logits: np.ndarray, embeddings: np.ndarray, signs: FamiliarSigns) -> dict[str, np.ndarray]:
    """Score -> (N,) how much each clip seems to show a known sign. logits: (N, K) fused, over the temperature."""
    return {
        "probability": softmax(logits, axis=1).max(1),
        "energy": np.asarray(logsumexp(logits, axis=1)),
        "nearest known": (embeddings @ signs.known.T).max(1),
        "familiarity": familiarity(embeddings, signs),
    }


def figures_of_score(values: np.ndarray, known: np.ndarray, threshold: float, sources: np.ndarray) -> dict[str, Any]:
    """Figures of a score (N,) of known and unknown clips (N,) bool; intervals over resampled sources (N,)."""
    rng, people = np.random.default_rng(0), np.unique(sources)
    of = {person: np.flatnonzero(sources == person) for person in people}
    drawn = [np.concatenate([of[p] for p in rng.choice(people, len(people))]) for _ in range(1000)]
    areas = [roc_auc_score(known[rows], values[rows]) for rows in drawn if 0 < known[rows].sum() < len(rows)]
    flags = [(values[rows][~known[rows]] < threshold).mean() for rows in drawn if not known[rows].all()]
    (area_lo, area_hi), (flag_lo, flag_hi) = (np.percentile(each, [2.5, 97.5]) for each in (areas, flags))
    return {
        "known": int(known.sum()),
        "unknown": int((~known).sum()),
        "auroc": float(roc_auc_score(known, values)),
        "auroc_lo": float(area_lo),
        "auroc_hi": float(area_hi),
        "passed": float((values[known] >= threshold).mean()),
        "flagged": float((values[~known] < threshold).mean()),
        "flagged_lo": float(flag_lo),
        "flagged_hi": float(flag_hi),
        "interval": f"bootstrap over {len(people)} sources",
    }


def measure_unknown(args: argparse.Namespace, command: str) -> None:
    """Scores validation and test clips, and writes the rows."""
    check_writable(args.out)
    ensemble, commit = Ensemble.load(args.weights), git_commit()
    clips = {split: read_clip_set(args.data, split) for split in ("train", "val", "test")}
    glosses = clips["train"].glosses
    if set(glosses) <= set(ensemble.glosses):
        raise UserError(f"{args.weights} knows all glosses of {args.data}: train networks with --without-glosses.")
    check_unseen(ensemble, args.weights, clips["val"].fingerprints | clips["test"].fingerprints)
    said = {split: score_streams(ensemble, of.joints) for split, of in clips.items()}
    others = score_streams(ensemble, background_clips(args.background, {*glosses, *ensemble.glosses}))
    values, known, fusion = scores_of_splits(clips, said, others, ensemble.glosses)
    networks = ensemble_networks(args.weights, fusion, clips["train"].estimator)
    origin = {
        "dataset": args.data.resolve().name,
        "streams": streams_name(fusion),
        "weights_sha256": networks_sha256(networks.values()),
        "data_sha256": hash_lines({path.name: file_sha256(path) for path in clips["train"].files}),
        "command": command,
        **results.made_by(commit, results.now()),
    }
    rows = []
    for name, of_val in values["val"].items():
        threshold = threshold_of(of_val[known["val"]])
        for split in ("val", "test"):
            found = figures_of_score(values[split][name], known[split], threshold, np.asarray(clips[split].sources))
            rows.append(origin | {"protocol": split, "score": name} | found)
            told = "{protocol}, {score}: AUROC {auroc:.3f}, known passed {passed:.1%}, unknown flagged {flagged:.1%}"
            print(told.format(**rows[-1]))
    results.write_unknown(args.out, rows)


def scores_of_splits(
    clips: Mapping[str, ClipSet],
    said: Mapping[str, Mapping[str, Scores]],
    others: Mapping[str, Scores],
    glosses: Sequence[str],
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray], dict[str, float]]:
    """Of `val` and `test` each score of each clip; of each split (N,) bool: whether a clip shows a known sign; the
    fusion, fitted on the known validation clips. said: split -> stream; others: of the background."""
    labels = {split: labels_among(of, glosses) for split, of in clips.items()}
    known = {split: of >= 0 for split, of in labels.items()}
    of_val = {stream: of.logits[known["val"]] for stream, of in said["val"].items()}
    fusion, temperature = fit_fusion(of_val, labels["val"][known["val"]])
    embeddings = {split: joint_embedding(of, fusion) for split, of in said.items()}
    trained = known["train"]
    signs = fitted_means(embeddings["train"][trained], labels["train"][trained], joint_embedding(others, fusion))
    values = {}
    for split in ("val", "test"):
        logits = fuse({stream: of.logits for stream, of in said[split].items()}, fusion) / temperature
        values[split] = known_scores(logits, embeddings[split], signs)
    return values, known, fusion


def labels_among(clips: ClipSet, glosses: Sequence[str]) -> np.ndarray:
    """(N,) the index of each clip's gloss among those known, -1 for others."""
    place = {gloss: i for i, gloss in enumerate(glosses)}
    return np.array([place.get(clips.glosses[label], -1) for label in clips.labels])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python eval/unknown.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, type=Path, metavar="DIR", help="a data set with splits")
    add("--weights", required=True, type=Path, metavar="DIR", help="networks that do not know some of its glosses")
    add("--background", required=True, type=Path, metavar="DIR", help="a set with other signs")
    add("--out", type=Path, default=OUT, metavar="DIR", help="default: leaderboard/results")
    args = parser.parse_args(arguments)
    command = shlex.join(["python", "eval/unknown.py", *(sys.argv[1:] if arguments is None else arguments)])
    return exit_code(lambda: measure_unknown(args, command))


if __name__ == "__main__":
    sys.exit(main())
