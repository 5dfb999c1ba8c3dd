"""A stored picture as a viewer sees it: pixels made square, turned and mirrored as the file says."""

import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

Turn = tuple[bool, bool, bool]
"""What is done with a picture, in this order: transpose, flip left-right, flip up-down."""


def square_pixels(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Width and height before turning, once pixels are square (old camcorders and DVDs store others)."""
    ratio = float(stream.sample_aspect_ratio or 1)
    return (max(1, round(frame.width * ratio)) if 0.25 <= ratio <= 4 else frame.width), frame.height


def orientation(frame: VideoFrame) -> Turn:
    """What turns the stored frame upright. Ask once a video: PyAV's side data keeps its frame alive.

    The display matrix sends a stored (x, y) to (a·x + c·y, b·x + d·y). Phones write quarter turns, and some
    front cameras a mirror: the frame is shown as a player shows it.
    """
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]  # its stub knows only names
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix)[:20], dtype=np.int32).tolist()
    return (True, c < 0, b < 0) if abs(b) > abs(a) else (False, a < 0, d < 0)


def upright(frame: VideoFrame, turn: Turn, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB of the given upright (width, height)."""
    transpose, mirror, upside_down = turn
    width, height = size[::-1] if transpose else size
    image = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    if transpose:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image[:: -1 if upside_down else 1, :: -1 if mirror else 1])
