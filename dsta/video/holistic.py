"""Frames → `Pose`, as MediaPipe Holistic finds it, on the CPU. Offline: its models lie in `weights/pose`."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from dsta.common import UserError
from dsta.common.machine import cores
from dsta.keypoints import Pose
from dsta.skeleton import INDEX, NUM_JOINTS
from dsta.video.body import BODY, PALMS, BodyTracker
from dsta.video.hands import HAND, HandTracker
from dsta.video.models import Models, lent_models
from dsta.video.read import FPS, MAX_SECONDS, Box, Frame, VideoInfo, probe, read_frames

ESTIMATOR = "mediapipe-holistic"

MAX_SIDE = 960  # pixels of the longest side of frames that are looked at; the models see 256 × 256 pieces of them
_AHEAD = 4  # frames whose bodies are found before their hands are waited for
_HOLE = 2.5  # a gap of more than this many usual frame intervals is a hole

Result = TypeVar("Result")
Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction of it done, 0..1."""
OnFrame = Callable[[Frame], object]


def extract(
    path: str | Path,
    *,
    fps: float = FPS,
    max_seconds: float = MAX_SECONDS,
    progress: Progress | None = None,
    start: float = 0.0,
    end: float | None = None,
    box: Box | None = None,
    info: VideoInfo | None = None,
    on_frame: OnFrame | None = None,
    threads: int | None = None,
) -> Pose:
    """A video's keypoints, in pixels of the upright video.

    `Pose.fps` is `fps`, or the video's own rate where that is lower. May be called from several threads at once.
    start, end: seconds, a part of the video (as in `video.read_frames`). box: the part of the picture in which the
    signer is looked for; the keypoints are in pixels of the whole picture all the same. info: what `probe` said of the
    file, where it was asked before. on_frame: called with each frame that is looked at, of at most `MAX_SIDE` pixels.
    threads: 1, or more for one that reads, one for the body and one for each hand, which together keep two cores busy;
    by default as many as this process may use cores.
    Raises UserError for a file that is no readable video (see `video.read_frames`) and for one without a person.
    """
    path = Path(path)
    info = info or probe(path, max_seconds=max_seconds, start=start, end=end)
    seconds = min(info.duration or inf, inf if end is None else end) - start
    left, top, right, bottom = box or (0, 0, info.width, info.height)
    progress = progress or (lambda step, share: None)

    def looked_at(frame: Frame) -> None:
        if on_frame is not None:
            on_frame(frame)
        progress("Finding joints", min(1.0, frame.time / seconds) if 0 < seconds < inf else 0.0)

    with closing(
        read_frames(path, fps=fps, max_seconds=max_seconds, max_side=MAX_SIDE, start=start, end=end, box=box, info=info)
    ) as frames:
        size = right - left, bottom - top
        pose = extract_frames(frames, *size, fps=fps, name=path.name, on_frame=looked_at, threads=threads)
    progress("Finding joints", 1.0)
    if box is None:
        return pose
    keypoints = pose.keypoints + np.array([left, top, 0], np.float32)  # Pose clears the joints that were not seen
    return Pose(keypoints, pose.fps, info.width, info.height, pose.estimator)


def extract_frames(
    frames: Iterable[Frame],
    width: int,
    height: int,
    *,
    fps: float = FPS,
    name: str = "the video",
    on_frame: OnFrame = lambda frame: None,
    threads: int | None = None,
) -> Pose:
    """Keypoints of frames with rising times, in pixels of a `width` × `height` picture (the frames may be smaller).

    `fps` is the highest rate of the frames, `name` appears in messages, `on_frame` is called with each frame after it
    was looked at, in order; what it raises ends the work. threads: as in `extract`. Raises UserError if no frame shows
    a person, or if there are fewer than two frames.
    """
    keypoints, times = [], []
    threads = threads or cores()
    with lent_models() as models, closing(_found(frames, models, threads)) as found:
        for frame, joints in found:
            rows, columns = frame.image.shape[:2]
            keypoints.append((joints * [width / columns, height / rows, 1]).astype(np.float32))
            times.append(frame.time)
            on_frame(frame)
    if len(times) < 2:
        raise UserError(f"{name} has only {len(times)} frame; a sign needs several frames.")
    if not np.any(keypoints):
        raise UserError(
            f"No person was found in {name}; film the signer from the front, from head to hips, in good light."
        )
    even, rate = _evenly(np.stack(keypoints), np.array(times), fps)
    return Pose(even, rate, width, height, ESTIMATOR)


def _found(frames: Iterable[Frame], models: Models, threads: int) -> Generator[tuple[Frame, np.ndarray], None, None]:
    """Each frame with its (27, 3) joints, in pixels of the frame.

    With several threads the next frame is read in one, and each hand looked for in one of its own, while this one goes
    on to the bodies of the next frames; what is found is the same.
    """
    body, last = BodyTracker(models), -1
    hands = {side: HandTracker(models.hands[side], palm) for side, palm in PALMS.items()}
    ahead: deque[tuple[Frame, np.ndarray | None, dict[str, Future[np.ndarray | None]]]] = deque()

    def first() -> tuple[Frame, np.ndarray]:
        frame, marks, found = ahead.popleft()
        return frame, placed(marks, {side: hand.result() for side, hand in found.items()})

    with _Workers(("frames", *hands) if threads > 1 else ()) as workers:
        every = iter(frames)
        coming = workers.start("frames", next, every, None)
        while frame := coming.result():
            coming = workers.start("frames", next, every, None)
            last = max(last + 1, round(frame.time * 1000))  # milliseconds that must rise
            marks = body.find(frame.image, last)
            found = {side: workers.start(side, hand.find, frame.image, marks) for side, hand in hands.items()}
            ahead.append((frame, marks, found))
            if threads == 1 or len(ahead) > _AHEAD:
                yield first()
        while ahead:
            yield first()


class _Workers:
    """A thread for each name, which does its works one after the other; a name without a thread does them at once."""

    def __init__(self, names: Iterable[str]) -> None:
        self._pools = {name: ThreadPoolExecutor(1, name) for name in names}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)

    def start(self, name: str, work: Callable[..., Result], *given: object) -> "Future[Result]":
        if name not in self._pools:
            done: Future[Result] = Future()
            done.set_result(work(*given))
            return done
        try:
            return self._pools[name].submit(work, *given)
        except RuntimeError as error:  # what Python makes of memory for a thread that it is not given
            raise MemoryError("There is not enough memory for a thread.") from error


def placed(body: np.ndarray | None, hands: dict[str, np.ndarray | None]) -> np.ndarray:
    """(27, 3) of MediaPipe's landmarks: the body's with their visibility, the hands' with 1; nought is not seen."""
    joints = np.zeros((NUM_JOINTS, 3))
    if body is not None:
        joints[[INDEX[name] for name in BODY]] = body[list(BODY.values())]
    for side, hand in hands.items():
        if hand is not None:
            places = [INDEX[f"{side}_{name}"] for name in HAND]
            joints[places, :2], joints[places, 2] = hand[list(HAND.values())], 1.0
    return joints


def _evenly(keypoints: np.ndarray, times: np.ndarray, fps: float) -> tuple[np.ndarray, float]:
    """Keypoints at an even rate, and that rate. Where a video stood still, its last keypoints are repeated.

    Frames lie unevenly when a 30 fps video is read at 25; that is left alone. Holes are not: closing them up would
    make the signer jump.
    """
    gaps = np.diff(times)
    usual = gaps[gaps <= _HOLE * np.median(gaps)]
    rate = min(fps, 1 / float(usual.mean()))
    if rate > 0.97 * fps:  # the ends of a short video make its rate a little uncertain
        rate = fps
    if usual.size < gaps.size:
        ticks = times[0] + np.arange(round((times[-1] - times[0]) * rate) + 1) / rate
        keypoints = keypoints[np.searchsorted(times, ticks + 0.5 / rate, side="right") - 1]
    return keypoints, rate
