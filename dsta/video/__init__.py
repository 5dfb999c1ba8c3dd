"""A video file → timed upright frames → `Pose`. The only wing that knows av, LiteRT and OpenCV."""

from dsta.video.follow import Follower
from dsta.video.holistic import ESTIMATOR, MAX_SIDE, Progress, extract
from dsta.video.lively import liveliest
from dsta.video.read import FPS, Frame, VideoInfo, probe, read_frames

__all__ = [
    "ESTIMATOR", "FPS", "MAX_SIDE", "Follower", "Frame", "Progress", "VideoInfo", "extract", "liveliest", "probe",
    "read_frames",
]  # fmt: skip
