"""From the video file to the gloss, as a multiple of the clip's duration, warm, on this machine."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from dsta.common import UserError
from dsta.common.device import DeviceSettings


class ClipShare(NamedTuple):
    """Of one clip, in its own durations: reading its frames alone, the joints with it, the networks, and all."""

    decode: float
    joints: float
    network: float
    whole: float


def measure_clips(videos: Sequence[Path], weights: Path) -> list[ClipShare]:
    """Each video recognised once by one recogniser, after one that warms it up. Those without a signer are left out."""
    from dsta.recognize import FRAMES_PER_SECOND, Recognizer
    from dsta.video import MAX_SIDE, read_frames

    recognizer, found = Recognizer.load(weights), []
    for number, video in enumerate([videos[0], *videos]):
        started = time.perf_counter()
        for _ in read_frames(video, fps=FRAMES_PER_SECOND, max_side=MAX_SIDE):
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


def clip_rows(shares: Sequence[ClipShare], weights: str, settings: DeviceSettings) -> list[dict[str, Any]]:
    """The rows of speed.csv, without provenance, one for each part, which is the row's `form`.

    weights: the folder's name, the row's `size`. ratio: how many times as fast as the clip plays, the median of the
    clips, of which there are `repeats`.
    """
    threads = "" if settings.on_gpu else torch.get_num_threads()
    where = {"what": "clip", "size": weights, "device": settings.device_name, "threads": threads}
    each = medians(shares)._asdict()
    return [where | {"form": part, "ratio": 1 / share, "repeats": len(shares)} for part, share in each.items()]
