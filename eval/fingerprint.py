"""Fits the projection of clips' fingerprints, and measures how well the same clip is found again.

    python eval/fingerprint.py --data data/WLASL100 --out dsta/data/facts/fingerprint.npz
    python eval/fingerprint.py --data data/WLASL100 --pairs data/wlasl50 data/wlasl50_to_wlasl.csv

Fitted on training clips and one copy of each, made as another run of another estimator would see it: joints displaced,
hands lost, the ends cut off, frames left out. Nothing of single clips is kept but what 1 442 clips have in common.
Measured: copies found again, by how they were made; distinct clips taken for the same; with `--pairs`, clips of another
set found again that a table (`clip`, `video_id`) says are the same videos.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.linalg import eigh

from dsta.common import UserError, exit_code, write_npz
from dsta.data import clip_key, read_clip_set
from dsta.data.overlap import LENGTH, RADIUS, Fingerprints, Projection, distances, features
from dsta.skeleton import INDEX, LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from dsta.streams import seen

REGULAR = 0.1  # share of the mean variance that is added to each feature's


def other_run(clip: np.ndarray, rng: np.random.Generator, shift: float, lost: float, cut: float) -> np.ndarray:
    """A clip (T, 27, 3) as another run would see it.

    shift: standard deviation of the joints' displacement for good and again in each frame, in shoulder widths. lost:
    most of the frames in which a hand is not found. cut: most that is missing at either end, as a share.
    """
    clip = clip.copy()
    width = np.median(np.abs(clip[:, INDEX["left_shoulder"], 0] - clip[:, INDEX["right_shoulder"], 0]))
    moved = rng.normal(0, shift, (1, NUM_JOINTS, 2)) + rng.normal(0, shift, (len(clip), NUM_JOINTS, 2))
    for hand in (LEFT_HAND, RIGHT_HAND):
        moved[:, hand] += rng.normal(0, 1.5 * shift, (1, 1, 2)) + rng.normal(0, 1.5 * shift, (len(clip), 1, 2))
    clip[..., :2] += np.where(seen(clip)[..., None], moved * width, 0)
    first, last = (int(rng.uniform(0, cut) * len(clip)) for _ in range(2))
    clip = clip[first : max(len(clip) - last, first + 4)]
    clip = clip[:: min(int(rng.choice([1, 1, 2, 3])), max(1, len(clip) // 4))].copy()
    for hand in (LEFT_HAND, RIGHT_HAND):
        frames = np.flatnonzero(rng.random(len(clip)) < rng.uniform(0, lost))
        clip[frames[:, None], hand] = 0
    return clip


def fit_projection(clips: np.ndarray, copies: np.ndarray) -> Projection:
    """The directions in which clips (N, F) vary most for what they differ from their copies (N, F): linear
    discriminants, in which the copies' differences have the variance 1."""
    centre, scale = np.nanmedian(clips, 0), np.nanstd(clips, 0) + 1e-6
    own, other = (np.nan_to_num((each - centre) / scale).clip(-3, 3) for each in (clips, copies))
    within = np.cov((own - other).T)
    within += REGULAR * np.trace(within) / len(within) * np.eye(len(within))
    axes = eigh(np.cov(own.T), within)[1][:, ::-1][:, :LENGTH]
    return Projection(centre, scale, axes)


def _features(clips: Sequence[np.ndarray]) -> np.ndarray:
    found = [features(clip) for clip in clips]
    return np.array([each for each in found if each is not None])


def write_projection(folder: Path, out: Path) -> None:
    """Writes the projection of a folder's training clips."""
    rng, clips = np.random.default_rng(0), read_clip_set(folder, "train").joints
    kept = [clip for clip in clips if features(clip) is not None]
    projection = fit_projection(_features(kept), _features([other_run(clip, rng, 0.02, 0.3, 0.12) for clip in kept]))
    write_npz(out, **{name: part.astype(np.float16) for name, part in projection._asdict().items()})
    print(f"{out}: {len(kept)} clips, {projection.axes.shape[0]} features")


def print_measures(folder: Path, pairs: Sequence[Path]) -> None:
    """Prints what is found again in a benchmark's folder, and what is wrongly."""
    every = [read_clip_set(folder, split) for split in ("train", "val+test")]
    clips, names = [clip for part in every for clip in part.joints], [name for part in every for name in part.names]
    own = Fingerprints.of(clips)
    rng = np.random.default_rng(1)
    for how, args in {
        "the same run, ends cut, frames left out": (0.0, 0.0, 0.06),
        "re-encoded (0.01 shoulder widths)": (0.01, 0.05, 0.06),
        "another estimator (0.02), hands lost in up to 30 % of frames": (0.02, 0.3, 0.12),
    }.items():
        copies = Fingerprints.of([other_run(clip, rng, *args) for clip in clips])
        again = np.linalg.norm(copies.codes.astype(float) - own.codes, axis=1) <= RADIUS
        print(f"{how}: {again.mean():.1%} of {len(clips)} found again")
    alike = np.argwhere(np.tril(distances(own.codes, own.codes) <= RADIUS, -1))
    print(f"within the set: {len(alike)} of {len(clips) * (len(clips) - 1) // 2} pairs are taken for the same clip:")
    print("  " + ", ".join(f"{clip_key(names[j])}/{clip_key(names[i])}" for i, j in alike))
    if pairs:
        other, place = read_clip_set(pairs[0]), {clip_key(name): i for i, name in enumerate(names)}
        with pairs[1].open(newline="", encoding="utf-8") as file:
            truth = {row["clip"]: place[row["video_id"]] for row in csv.DictReader(file) if row["video_id"] in place}
        prints = Fingerprints.of(other.joints)
        at = prints.found_in(own)
        right = sum(at[i] >= 0 and at[i] == truth.get(name) for i, name in enumerate(other.names))
        print(f"{pairs[0].name}: {right} of {len(truth)} found again, {(at >= 0).sum() - right} taken for another clip")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python eval/fingerprint.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a prepared benchmark, as WLASL100")
    parser.add_argument("--out", type=Path, metavar="FILE.npz", help="fit and write; without it, measure")
    parser.add_argument("--pairs", nargs=2, type=Path, default=(), metavar=("DIR", "CSV"), help="see above")
    args = parser.parse_args(arguments)

    def work() -> None:
        if args.out and args.out.suffix != ".npz":
            raise UserError(f"{args.out} must end with .npz.")
        write_projection(args.data, args.out) if args.out else print_measures(args.data, args.pairs)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
