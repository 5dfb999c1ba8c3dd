"""From the video file to the gloss, as a multiple of the clip's duration, warm, on this machine."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from dsta.common import UserError


class ClipShare(NamedTuple):
    """Of one clip, in its own durations: reading its frames alone, the joints with it, the networks, and all."""

    decode: float
    joints: float
    network: float
    whole: float


def measure_clips(videos: Sequence[Path], weights: Path) -> list[ClipShare]:
    """Each video recognised once by one recogniser, after one that warms it up. Those without a signer are left out."""
    from dsta.recognize import FRAMES_PER_SECOND, Recognizer
    from dsta.video import read_frames

    recognizer, found = Recognizer.load(weights), []
    for number, video in enumerate([videos[0], *videos]):
        started = time.perf_counter()
        for _ in read_frames(video, fps=FRAMES_PER_SECOND, max_side=960):
            pass
        decoded = time.perf_counter()
        try:
            result = recognizer.recognize(video)
        except UserError:
            continue
        ended, seconds = time.perf_counter(), result.quality["seconds"]
        if number:
            steps = decoded - started, *result.timings.values(), ended - decoded
            found.append(ClipShare(*(step / seconds for step in steps)))
    return found


def medians(shares: Sequence[ClipShare]) -> ClipShare:
    """Of each part over the clips."""
    return ClipShare(*(median(part) for part in zip(*shares, strict=True)))
