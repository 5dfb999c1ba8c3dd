"""Makes up joints where tests need none to be found: quick, the same in every process, and ill-behaved by name.

Environment: FINDER_LOG, a file that gets a line for each call; FINDER_SLEEP, seconds that each takes.
"""

import os
import time
import zlib

import numpy as np

from dsta.common import UserError
from dsta.keypoints import Pose


def made_up(clip, fps):
    """3 to 9 frames that depend on the file's name only. `bad` is the user's mistake, `bug` ours, `die` kills."""
    if log := os.environ.get("FINDER_LOG"):
        with open(log, "a") as file:  # noqa: PTH123 - one write, appended whole
            file.write(f"{clip.clip}\n")
    time.sleep(float(os.environ.get("FINDER_SLEEP", "0")))
    name = clip.file.stem
    if name.startswith("bad"):
        raise UserError(f"{clip.file.name} is not a video that can be read.")
    if name.startswith("bug"):
        raise RuntimeError("the graph\nfailed")
    if name.startswith("die"):
        os._exit(9)
    return pose_of(name.removesuffix("-copy"), fps)


def build_with_two(listing, out):
    from dsta.prepare import build_dataset

    build_dataset(listing, out, workers=2, find=made_up)


def pose_of(name, fps=25.0, estimator="mediapipe-holistic"):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    keypoints = rng.uniform(1, 300, (int(rng.integers(3, 10)), 27, 3)).astype(np.float32)
    keypoints[..., 2] = rng.uniform(0.5, 1, keypoints.shape[:2])
    keypoints[0, 7:] = 0  # no hand in the first frame
    return Pose(keypoints, fps, 640, 480, estimator)


def core(clip, fps):
    """The cores that a worker keeps to."""
    time.sleep(0.3)
    return sorted(os.sched_getaffinity(0))
