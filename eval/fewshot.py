"""Signs that a network was never trained on, told apart from a few example clips each.

    python eval/fewshot.py --data data/WLASL100 --glosses 30       which glosses to leave out, chosen by hash
    python -m dsta.train --data data/WLASL100 … --without-glosses GLOSS … --stream joint --out runs/fewshot/joint
    python eval/fewshot.py --data data/WLASL100 --weights runs/fewshot

Of the glosses that the weights do not know, K examples each are drawn from the training split, K signers where there
are so many, and the clips of validation and test are told apart among these glosses: by the nearest prototype of the
embedding, by a linear probe on it, and, as a baseline, by the nearest example under dynamic time warping of the
normalised joints. No example is of the signer who is asked about; with `--same-source` all are. Of a skeleton set,
which has no splits, every clip is asked about, the others being its examples.
"""

import argparse
import hashlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dsta.checkpoint import Ensemble, git_commit
from dsta.common import UserError, at_least, exit_code, file_sha256
from dsta.data import read_clip_set
from dsta.embedding import joint_embedding, linear_probe, prototype_head
from dsta.metrics import cluster_bootstrap
from dsta.score import score_streams
from eval.episodes import (
    Answers,
    Classifier,
    Questions,
    answers,
    by_head,
    by_time_warping,
    read_questions,
    warped_distances,
)
from eval.plan import check_unseen, ensemble_networks, networks_sha256
from leaderboard import results
from leaderboard.results import OUT, check_writable, hash_lines, streams_name

SHOTS = (1, 3, 5)
DRAWS = 20


def left_out(glosses: Sequence[str], count: int) -> list[str]:
    """So many of the glosses, by the order of their names' sha256. Raises UserError when there are not so many."""
    if not 1 < count <= len(glosses):
        raise UserError(f"--glosses must be 2 to {len(glosses)}, which the data set has, not {count}.")
    ordered = sorted(glosses, key=lambda gloss: hashlib.sha256(gloss.encode()).hexdigest())
    return sorted(ordered[:count])


def figures_of(questions: Questions, found: Answers, protocol: str) -> dict[str, Any]:
    """The figures of a protocol, with an interval over resampled sources."""
    at = questions.asked[protocol]
    at = at[~np.isnan(found.hits1[at])]
    labels, sources = questions.clips.labels[at], np.asarray(questions.clips.sources)[at]
    (low, high), _ = cluster_bootstrap(found.hits1[at], labels, sources)
    return {
        "protocol": protocol,
        "n": len(at),
        "ways": found.ways,
        "top1": float(found.hits1[at].mean()),
        "top1_lo": low,
        "top1_hi": high,
        "top5": float(found.hits5[at].mean()),
        "interval": f"bootstrap over {len(np.unique(sources))} sources",
    }


def compared(ensemble: Ensemble, questions: Questions) -> dict[tuple[str, str], Classifier]:
    """(system, streams) -> the classifier."""
    scores, every = score_streams(ensemble, questions.clips.joints), streams_name(ensemble.fusion)
    fused = joint_embedding(scores, ensemble.fusion)
    found: dict[tuple[str, str], Classifier] = {("prototype", every): by_head(prototype_head, fused)}
    if len(ensemble.fusion) > 1:
        for stream in ensemble.fusion:
            found["prototype", stream] = by_head(prototype_head, joint_embedding(scores, {stream: 1.0}))
    found["linear probe", every] = by_head(linear_probe, fused)
    found["time warping", "joint"] = by_time_warping(warped_distances(questions, ensemble.first.recipe))
    return found


def measure_fewshot(args: argparse.Namespace, command: str) -> None:
    """Asks, and writes the rows."""
    check_writable(args.out)
    ensemble, commit = Ensemble.load(args.weights), git_commit()
    questions = read_questions(args.data, ensemble.glosses, args.same_source)
    check_unseen(ensemble, args.weights, questions.clips.fingerprints)
    networks = ensemble_networks(args.weights, ensemble.fusion, questions.clips.estimator)
    origin = {
        "dataset": args.data.resolve().name,
        "examples": "same source" if args.same_source else "other sources",
        "draws": args.draws,
        "data_sha256": hash_lines({path.name: file_sha256(path) for path in questions.clips.files}),
        "command": command,
        **results.made_by(commit, results.now()),
    }
    rows = []
    for (system, streams), classifier in compared(ensemble, questions).items():
        trained = [networks[stream] for stream in streams.split("+")] if system != "time warping" else []
        about = {"system": system, "streams": streams, "weights_sha256": networks_sha256(trained) if trained else ""}
        for shots in args.shots:
            found = answers(questions, classifier, shots, args.draws)
            for protocol in questions.asked:
                row = origin | about | {"shots": shots} | figures_of(questions, found, protocol)
                print(
                    f"{protocol}, {shots} shots, {system}, {streams}: top-1 {row['top1']:.1%}, n = {row['n']}",
                    flush=True,
                )
                rows.append(row)
    results.write_fewshot(args.out, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python eval/fewshot.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, type=Path, metavar="DIR", help="the data set")
    add("--weights", type=Path, metavar="DIR", help="networks that do not know some of its glosses")
    add("--glosses", type=int, metavar="N", help="instead, print N of its glosses to leave out in training")
    add("--same-source", action="store_true", help="examples are takes of the very source that is asked about")
    add("--shots", nargs="+", type=at_least(1), default=SHOTS, metavar="K", help="examples of a gloss (1 3 5)")
    add("--draws", type=at_least(1), default=DRAWS, metavar="N", help="of the examples (default %(default)s)")
    add("--out", type=Path, default=OUT, metavar="DIR", help="default: leaderboard/results")
    args = parser.parse_args(arguments)
    command = shlex.join(["python", "eval/fewshot.py", *(sys.argv[1:] if arguments is None else arguments)])

    def work() -> None:
        if args.glosses is not None:
            print(shlex.join(left_out(read_clip_set(args.data, "train").glosses, args.glosses)))
        elif args.weights:
            measure_fewshot(args, command)
        else:
            raise UserError("Give --weights, networks that do not know some glosses, or --glosses N to choose these.")

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
