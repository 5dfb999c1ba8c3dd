"""Where in a long video something moves: a few seconds of it are proposed, found without looking for joints."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from dsta.video.read import Frame, VideoInfo, read_frames

_RATE = 4.0  # pictures a second that are compared
_SIDE = 64  # pixels of their longest side
_LOUDEST = 80  # percentile of the differences beyond which more counts no more: a cut, or walking up to the camera
_QUIETEST = 0.2  # of the largest difference: where all but a sign stands still, the noise is no movement


@dataclass(frozen=True)
class Lively:
    """start, end: seconds of the proposed part. movement: 0..1, how much moves in each step of equal length through the
    video."""

    start: float
    end: float
    movement: tuple[float, ...]


def liveliest(
    path: str | Path, info: VideoInfo, seconds: float = 4.0, on_frame: Callable[[Frame], object] = lambda frame: None
) -> Lively:
    """The `seconds` of a video in which the pictures change most, by small ones that are compared.

    info: what `probe` said of the file. on_frame: called with each picture that is looked at. Raises UserError for what
    `read_frames` cannot read.
    """
    times, greys = [], []
    for frame in read_frames(path, fps=_RATE, max_side=_SIDE, info=info):
        on_frame(frame)
        times.append(frame.time)
        greys.append(frame.image.mean(2, dtype=np.float32))
    changes = np.array([np.abs(after - before).mean() for before, after in pairwise(greys)])
    loud = max(float(np.percentile(changes, _LOUDEST)), _QUIETEST * float(changes.max()), 1e-6)
    moving = np.minimum(changes / loud, 1.0)
    first, length = np.array(times[:-1]), times[-1]
    starts = first[first <= max(first[0], length - seconds)]  # what decodes may be shorter than the file claims
    sums = np.array([moving[(first >= start) & (first < start + seconds)].sum() for start in starts])
    best = np.flatnonzero(sums > sums.max() - 0.5)  # of a short movement, that with as much room before as after it
    start = float(starts[best[len(best) // 2]])
    return Lively(round(start, 2), round(min(start + seconds, length), 2), tuple(np.round(moving, 3).tolist()))
