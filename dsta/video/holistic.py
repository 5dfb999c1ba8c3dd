"""Frames → `Pose`, with MediaPipe Holistic on the CPU. Offline: its models lie in `weights/pose`."""

import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from dsta.common import UserError, file_sha256
from dsta.common.files import WEIGHTS
from dsta.keypoints import Pose
from dsta.skeleton import INDEX, NUM_JOINTS
from dsta.video.read import FPS, MAX_SECONDS, Box, Frame, VideoInfo, probe, read_frames

if TYPE_CHECKING:
    from mediapipe.tasks.python.vision import HolisticLandmarker, HolisticLandmarkerResult

ESTIMATOR = "mediapipe-holistic"
BUNDLE = WEIGHTS / "pose" / "holistic_landmarker.task"
BUNDLE_SHA256 = "fff15d0bb5c27ce3c89b7fdee41f5c5851f89fb52dc9be5c5e6307ae03a4cf7e"

_SIDE = 960  # longest side in pixels given to MediaPipe, which cuts 256 × 256 pieces out of it
_HOLE = 2.5  # a gap of more than this many usual frame intervals is a hole

# MediaPipe's numbers, nowhere else: joint → (landmark list, index in it). Its left is the person's left, as is ours.
_BODY = {"nose": 0, "left_shoulder": 11, "right_shoulder": 12, "left_elbow": 13, "right_elbow": 14}
_BODY |= {"left_wrist": 15, "right_wrist": 16}
_HAND = {"hand_root": 0, "thumb_tip": 4, "index_base": 5, "index_tip": 8, "middle_base": 9, "middle_tip": 12}
_HAND |= {"ring_base": 13, "ring_tip": 16, "little_base": 17, "little_tip": 20}
_LANDMARKS = {name: ("pose_landmarks", i) for name, i in _BODY.items()} | {
    f"{side}_{name}": (f"{side}_hand_landmarks", i) for side in ("left", "right") for name, i in _HAND.items()
}

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
) -> Pose:
    """A video's keypoints, in pixels of the upright video.

    `Pose.fps` is `fps`, or the video's own rate where that is lower. May be called from several threads at once.
    start, end: seconds, a part of the video (as in `video.read_frames`). box: the part of the picture in which the
    signer is looked for; the keypoints are in pixels of the whole picture all the same. info: what `probe` said of the
    file, where it was asked before. on_frame: called with each frame that is looked at, scaled to at most 960 pixels.
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
        read_frames(path, fps=fps, max_seconds=max_seconds, max_side=_SIDE, start=start, end=end, box=box, info=info)
    ) as frames:
        pose = extract_frames(frames, right - left, bottom - top, fps=fps, name=path.name, on_frame=looked_at)
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
) -> Pose:
    """Keypoints of frames with rising times, in pixels of a `width` × `height` picture (the frames may be smaller).

    `fps` is the highest rate of the frames, `name` appears in messages, `on_frame` is called with each frame after it
    was looked at. Raises UserError if no frame shows a person, or if there are fewer than two frames.
    """
    keypoints, times = [], []
    with _landmarker() as find:
        for frame in frames:
            keypoints.append(_joints(find(frame), width, height))
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


def _joints(result: "HolisticLandmarkerResult", width: int, height: int) -> np.ndarray:
    """(27, 3) float32. MediaPipe gives fractions of the picture, and no visibility for hands."""
    joints = np.zeros((NUM_JOINTS, 3), dtype=np.float32)
    for name, (part, i) in _LANDMARKS.items():
        landmarks = getattr(result, part)
        if landmarks:
            mark = landmarks[i]
            score = min(1.0, max(0.0, mark.visibility or 0.0)) if part == "pose_landmarks" else 1.0
            joints[INDEX[name]] = mark.x * width, mark.y * height, score
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


@contextmanager
def _landmarker() -> "Iterator[Callable[[Frame], HolisticLandmarkerResult]]":
    """A function that finds landmarks in one frame after another.

    One landmarker a video: it follows a person from frame to frame, so it cannot be shared, and making one costs a
    quarter of a second.
    """
    with _native_logs.hidden():
        import mediapipe

        landmarker = _create()
    last = -1

    def find(frame: Frame) -> "HolisticLandmarkerResult":
        nonlocal last
        last = max(last + 1, round(frame.time * 1000))  # milliseconds that must rise
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame.image))
        with _native_logs.hidden():
            return landmarker.detect_for_video(image, last)

    try:
        yield find
    finally:
        with _native_logs.hidden():
            landmarker.close()


def _create() -> "HolisticLandmarker":
    from mediapipe.tasks.python import BaseOptions, vision

    wrong = "is damaged (its sha256 differs)" if BUNDLE.is_file() else f"is missing from {BUNDLE.parent}"
    if not BUNDLE.is_file() or file_sha256(BUNDLE) != BUNDLE_SHA256:
        raise UserError(f"The pose model {BUNDLE.name} {wrong}; restore it, see its README.")
    options = vision.HolisticLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(BUNDLE)),
        running_mode=vision.RunningMode.VIDEO,
        min_face_detection_confidence=1.0,  # no joint lies in the face: never look for its landmarks
    )
    return vision.HolisticLandmarker.create_from_options(options)


class _NativeLogs:
    """Keeps lines that MediaPipe's native code writes to file descriptor 2 off stderr.

    No setting of MediaPipe's Tasks silences them. Descriptor 2 belongs to the whole process, so it is swapped for a
    temporary file only while native code runs, once for all threads, and what others wrote meanwhile is passed on.
    """

    _LINE = re.compile(
        rb"[IWEF]\d{4} [\d:. ]+\S+:\d+\] |(INFO|WARNING): .*(TensorFlow|XNNPACK|absl::)|Matplotlib is building the font"
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._stderr = -1
        self._caught: IO[bytes] | None = None

    @contextmanager
    def hidden(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._begin()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._end()

    def _begin(self) -> None:
        try:
            self._stderr = os.dup(2)
        except OSError:  # a process without stderr has nothing to keep clean
            return
        try:
            self._caught = tempfile.TemporaryFile()  # noqa: SIM115 (closed in _end)
        except OSError:  # of a full disk: better a line too many than no answer
            os.close(self._stderr)
            return
        os.dup2(self._caught.fileno(), 2)

    def _end(self) -> None:
        if self._caught is None:
            return
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        with self._caught as file:
            file.seek(0)
            others = b"".join(line for line in file if not self._LINE.match(line))
        self._caught = None
        if others:
            os.write(2, others)


_native_logs = _NativeLogs()
