"""From the video file to the gloss: labelled videos through the recogniser, as a row of the table.

    python eval/videos.py VIDEOS --data data/WLASL100 --split val [--weights weights/WLASL100]

VIDEOS holds the videos of the data set's clips of a split, under the clips' names. The row's protocol is `val-videos`
or `test-videos`; its note compares it with the scores of the very same clips from the data set's joints, and says how
long a second of video took. A video that cannot be recognised counts as wrong. What this commit recognised is kept: a
killed run goes on.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from tqdm import tqdm

from dsta.checkpoint import ENSEMBLE_FILE, Ensemble, git_commit
from dsta.common import UserError, at_least, exit_code, file_sha256, read_json, write_npz
from dsta.common.machine import cores, cpu_name, peak_mb
from dsta.data import ClipSet, dataset, read_clip_set
from dsta.data.clips import PickedClips
from dsta.metrics import mcnemar, ranks
from dsta.recognize import FRAMES_PER_SECOND, Recognizer
from dsta.score import score_streams
from dsta.streams import fuse
from dsta.video import extract
from eval import rows
from eval.plan import DatasetPlan, ensemble_networks, in_classes_of
from eval.protocols import NO_GLOSS, FusedScores, FusionRule, ProtocolClips
from leaderboard import results
from leaderboard.results import OUT, check_writable, hash_lines, streams_name

NOTHING = -1e9  # the logit of each gloss where nothing was recognised


@dataclass(frozen=True)
class Recognised:
    """What became of a video.

    scores: (K,) log-probabilities in the order of the weights' glosses, or none. seconds: of the video. took: seconds
    of work from the file to the glosses. fault: the sentence where it could not be recognised.
    """

    scores: np.ndarray
    seconds: float
    took: float
    peak_mb: float
    fault: str = ""


def recognised(weights: Path, kept: Path, video: Path) -> Recognised:
    """A video's glosses by the ensemble in `weights`. kept: folder of what was recognised before."""
    file = kept / f"{file_sha256(video)[:16]}.npz"
    try:
        with np.load(file, allow_pickle=False) as saved:
            return Recognised(*(saved[name][()] for name in Recognised.__dataclass_fields__))
    except (OSError, KeyError, ValueError, BadZipFile):
        pass  # not there, or half a file of a full disk: it is made
    torch.set_num_threads(1)
    recognizer = _recognizer(weights)
    try:
        result = recognizer.recognize(video, find=partial(extract, fps=FRAMES_PER_SECOND, threads=1))
    except UserError as error:
        found = Recognised(np.array([]), 0.0, 0.0, peak_mb(), str(error))
    else:
        score_of = {prediction.gloss: prediction.score for prediction in result.predictions}
        scores = np.log([max(score_of[gloss], 1e-30) for gloss in recognizer.glosses])
        found = Recognised(scores, result.quality["seconds"], sum(result.timings.values()), peak_mb())
    write_npz(file, **{name: np.array(value) for name, value in vars(found).items()})
    return found


@lru_cache(maxsize=1)
def _recognizer(weights: Path) -> Recognizer:
    return Recognizer.load(weights)


def clips_with_videos(folder: Path, data: Path, split: str) -> tuple[ClipSet, list[Path], int]:
    """The clips of a split whose videos are in a folder, these, and how many clips the split has. Raises UserError
    where there are none."""
    clips = read_clip_set(data, split)
    there = [i for i, name in enumerate(clips.names) if (folder / name).is_file()]
    if not there:
        raise UserError(f"{folder} holds no video under the name of a clip of {data}, such as {clips.names[0]}.")
    picked = replace(
        clips,
        names=tuple(clips.names[i] for i in there),
        labels=clips.labels[there],
        joints=PickedClips(clips.joints, there),
        folds=clips.folds[there],
        sources=tuple(clips.sources[i] for i in there) if clips.sources else (),
        splits=tuple(clips.splits[i] for i in there) if clips.splits else (),
    )
    return picked, [folder / name for name in picked.names], len(clips)


def fused_of(
    plan: DatasetPlan, found: Sequence[Recognised], ensemble: Ensemble, weights: Path, split: str
) -> FusedScores:
    """What the recogniser says of the videos, as a fusion of the weights' streams; a video that failed is wrong."""
    every = np.arange(len(plan.clips))
    known = len(ensemble.glosses)
    scores = np.array([each.scores if len(each.scores) else np.full(known, NOTHING) for each in found])
    failed = np.array([len(each.scores) == 0 for each in found])
    rank = np.where(failed, known - 1, ranks(scores, plan.clips.labels))
    rule = FusionRule("equal" if len(ensemble.fusion) > 1 else "none", [(every, ensemble.fusion, 1.0)])
    fitted = weights / ENSEMBLE_FILE
    if fitted.exists():
        told = read_json(fitted).get("fitted_on", "clips that are not named")
        rule = FusionRule("fitted", rule.segments, f"on {told}")
    predicted = np.where(failed, NO_GLOSS, scores.argmax(1))
    return FusedScores(ProtocolClips(f"{split}-videos", every), rule, scores, plan.clips.labels, rank, predicted)


def row_of(
    plan: DatasetPlan, fused: FusedScores, of_all: int, found: Sequence[Recognised], ensemble: Ensemble
) -> dict[str, Any]:
    """The row. of_all: clips of the split."""
    streams = tuple(fused.rule.weights)
    from_joints = score_streams(ensemble, plan.clips.joints)
    joints = fuse({stream: said.logits for stream, said in from_joints.items()}, ensemble.fusion)
    took = sum(each.took for each in found)
    return {
        "dataset": plan.spec.name,
        "protocol": fused.protocol.name,
        "streams": streams_name(streams),
        "fusion": fused.rule.name,
        "status": "ok",
        "reason": "",
        **rows.row_figures(plan, fused),
        "clips_per_second": len(found) / took,
        "seconds": took,
        "peak_memory_mb": max(each.peak_mb for each in found),
        "parameters": sum(p.numel() for c in ensemble.checkpoints.values() for p in c.model.parameters()),
        "latency_ms": 1e3 * float(np.median([each.took for each in found if each.took])),
        "fusion_weights": json.dumps(fused.rule.weights),
        "selection": plan.selection(streams, fused.protocol.positions, fused.rule.chosen),
        "note": " ".join(_notes(found, fused, joints, of_all)),
        "dtype": "fp32",
        "torch": torch.__version__,
        "device": cpu_name(),
        "recipe": json.dumps(ensemble.first.recipe.to_dict()),
        **rows.weights_hash(plan, streams),
    }


def _notes(found: Sequence[Recognised], fused: FusedScores, from_joints: np.ndarray, of_all: int) -> Iterator[str]:
    """from_joints: (n, K) what the ensemble says of the same clips by the data set's joints."""
    if len(found) < of_all:
        yield f"{len(found)} of the split's {of_all} clips have a video."
    faults = [each.fault for each in found if each.fault]
    if faults:
        yield f"{len(faults)} videos could not be recognised and count as wrong, the first: {faults[0]}"
    each_second = np.median([each.took / each.seconds for each in found if each.took])
    yield f"A second of video took {each_second:.2f} s on one core (median)."
    hit, theirs = fused.rank < 1, ranks(from_joints, fused.labels) < 1
    gained, lost = int((hit & ~theirs).sum()), int((theirs & ~hit).sum())
    same, p = np.mean(from_joints.argmax(1) == fused.predicted), mcnemar(lost, gained)
    apart = f"{gained} right by the video alone, {lost} by the joints alone, p = {p:.2g}; the same gloss of {same:.1%}"
    yield f"The same clips from the data set's joints: top-1 {theirs.mean():.1%} ({apart})."


def planned(clips: ClipSet, ensemble: Ensemble, weights: Path) -> DatasetPlan:
    """The clips with the weights' networks. Raises Unscored where they do not fit."""
    plan = DatasetPlan(dataset(clips.folder.resolve().name), clips, None, [])
    networks = ensemble_networks(weights, ensemble.fusion, clips.estimator)
    plan.networks |= {stream: [network] for stream, network in networks.items()}
    plan.clips = in_classes_of(next(iter(plan.networks.values()))[0], clips)
    return plan


def measure_videos(args: argparse.Namespace, command: str) -> None:
    """Recognises the videos and writes the row."""
    check_writable(args.out)
    weights = args.weights or Path("weights") / args.data.resolve().name
    ensemble = Ensemble.load(weights)
    clips, videos, of_all = clips_with_videos(args.videos, args.data, args.split)
    plan, commit = planned(clips, ensemble, weights), git_commit()
    kept = args.cache / f"{rows.weights_hash(plan, tuple(plan.networks))['weights_sha256'][:16]}-{commit}"
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        work = pool.map(partial(recognised, weights.resolve(), kept), videos)
        found = list(tqdm(work, total=len(videos), unit="video", file=sys.stderr))
    fused = fused_of(plan, found, ensemble, weights, args.split)
    row = row_of(plan, fused, of_all, found, ensemble)
    row |= {
        "data_sha256": hash_lines({video.name: file_sha256(video) for video in videos}),
        "command": command,
        **results.made_by(commit, results.now()),
    }
    results.write_dataset(args.out, [row], rows.gloss_rows(plan, fused, tuple(plan.networks)))
    print(f"{row['dataset']} {row['protocol']}: top-1 {row['top1_instance']:.1%}, n = {row['n']}. {row['note']}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python eval/videos.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("videos", type=Path, metavar="VIDEOS", help="folder of videos under the clips' names")
    add("--data", required=True, type=Path, metavar="DIR", help="the data set, which has the labels")
    add("--split", choices=["val", "test"], default="val")
    add("--weights", type=Path, metavar="DIR", help="default: weights/NAME of the data set")
    add("--workers", type=at_least(1), default=cores(), metavar="N", help="processes; by default one a core")
    add("--out", type=Path, default=OUT, metavar="DIR", help="default: leaderboard/results")
    add("--cache", type=Path, default=Path(".cache/videos"), metavar="DIR", help="what was recognised")
    args = parser.parse_args(arguments)
    command = shlex.join(["python", "eval/videos.py", *(sys.argv[1:] if arguments is None else arguments)])
    return exit_code(lambda: measure_videos(args, command))


if __name__ == "__main__":
    sys.exit(main())
