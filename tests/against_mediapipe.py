"""How far our joints lie from MediaPipe's own, on real videos, and whether the gloss is the same.

    python tests/against_mediapipe.py data/wlasl_clips
    python tests/against_mediapipe.py data/wlasl_clips --every 4

MediaPipe's Holistic looks at 15 frames of a second; `dsta.video` looks at the very same ones, and at those that
recognition looks at, between which MediaPipe's joints are interpolated. Distances are in shoulder widths.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from helpers.mediapipe_truth import mediapipe_joints

from dsta.common import UserError
from dsta.common.machine import cores
from dsta.keypoints import Pose
from dsta.recognize import FRAMES_PER_SECOND, Recognizer
from dsta.skeleton import INDEX, JOINTS
from dsta.video import ESTIMATOR, MAX_SIDE, Frame, read_frames
from dsta.video.holistic import extract_frames

FULL = 15.0  # frames a second
PARTS = {
    "nose and shoulders": [INDEX[name] for name in ("nose", "left_shoulder", "right_shoulder")],
    "elbows and wrists": [INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("elbow", "wrist")],
    "knuckles": [i for i, name in enumerate(JOINTS) if name.endswith(("_base", "_hand_root"))],
    "finger tips": [i for i, name in enumerate(JOINTS) if name.endswith("_tip")],
}


class Compared(NamedTuple):
    """Of one video and one rate: distances (T, 27) in shoulder widths, NaN where one of the two saw no joint; how many
    joints MediaPipe saw and we not, we and MediaPipe not, both; and the two glosses."""

    distances: np.ndarray
    lost: int
    new: int
    both: int
    theirs: str
    ours: str


def compared(video: Path) -> dict[float, Compared]:
    """By frames a second; empty where nobody recognises anything in the video."""
    torch.set_num_threads(1)
    recognizer, found = Recognizer.load(), {}
    try:
        full = list(read_frames(video, fps=FULL, max_side=MAX_SIDE))
        height, width = full[0].image.shape[:2]
        truth = mediapipe_joints(full, width, height)
        theirs = recognizer.recognize(Pose(truth.astype(np.float32), FULL, width, height, ESTIMATOR))
        for rate in (FULL, FRAMES_PER_SECOND):
            frames = full if rate == FULL else list(read_frames(video, fps=rate, max_side=MAX_SIDE))
            pose = extract_frames(frames, width, height, fps=rate, threads=1)
            distances, (lost, new, both) = _apart(pose.keypoints, _at(frames, full, truth))
            answers = (each.predictions[0].gloss for each in (theirs, recognizer.recognize(pose)))
            found[rate] = Compared(distances, lost, new, both, *answers)
    except UserError:
        return {}
    return found


def _at(frames: Sequence[Frame], full: Sequence[Frame], truth: np.ndarray) -> np.ndarray:
    """Joints at other frames' times: x and y between the two nearest, and seen where both are."""
    times = np.array([frame.time for frame in full])
    at = np.clip([frame.time for frame in frames], times[0], times[-1])
    after = np.clip(np.searchsorted(times, at), 1, len(times) - 1)
    share = ((at - times[after - 1]) / (times[after] - times[after - 1]))[:, None, None]
    between = (1 - share) * truth[after - 1] + share * truth[after]
    seen_before, seen_after = truth[after - 1, :, 2:] > 0, truth[after, :, 2:] > 0
    near = (seen_before | (share > 1 - 1e-6)) & (seen_after | (share < 1e-6))
    return np.where(near, between, 0.0)


def _apart(ours: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    count = min(len(ours), len(truth))  # where a video stood still, ours are repeated
    ours, truth = ours[:count], truth[:count]
    a, b = ours[..., 2] > 0, truth[..., 2] > 0
    shoulders = truth[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]], :2]
    width = np.median(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=-1))
    distances = np.linalg.norm(ours[..., :2] - truth[..., :2], axis=-1) / width
    distances[~(a & b)] = np.nan
    return distances, (int((b & ~a).sum()), int((a & ~b).sum()), int((a & b).sum()))


def table(found: Sequence[Compared]) -> str:
    """Median, 90th and 99th percentile by parts of the body, as Markdown; then what was seen, and the glosses."""
    lines = ["| joints | median | 90 % | 99 % |", "|---|---|---|---|"]
    for name, part in (PARTS | {"all": list(range(len(JOINTS)))}).items():
        values = np.concatenate([each.distances[:, part].ravel() for each in found])
        percentiles = np.nanpercentile(values, [50, 90, 99])
        lines.append(f"| {name} | " + " | ".join(f"{value:.4f}" for value in percentiles) + " |")
    lost, new, both = (sum(each[i] for each in found) for i in (1, 2, 3))
    alone = f"by MediaPipe alone {lost / (both + lost):.2%}, by us alone {new / (both + new):.2%}"
    lines.append(f"seen by both {both}, {alone}")
    same = sum(each.theirs == each.ours for each in found)
    lines.append(f"the same gloss: {same} of {len(found)} videos ({same / len(found):.1%})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth video alone")
    args = parser.parse_args()
    videos = sorted(args.folder.rglob("*.mp4"))[:: args.every]
    with ProcessPoolExecutor(cores(), get_context("spawn")) as pool:
        found = [each for each in pool.map(compared, videos) if each]
    print(f"{len(found)} of {len(videos)} videos; MediaPipe at {FULL:g} frames a second")
    for rate in (FULL, FRAMES_PER_SECOND):
        print(f"\nours at {rate:g} frames a second\n{table([each[rate] for each in found])}")


if __name__ == "__main__":
    main()
