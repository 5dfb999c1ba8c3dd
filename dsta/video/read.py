"""A video file → timed, upright RGB frames, or one clear sentence.

mp4, mov, webm, mkv and avi, with whatever codec the `av` wheel decodes (H.264, HEVC, VP8, VP9, AV1 and more).
Frames are streamed: two decoded frames are in memory at a time, whatever the video's length. A part of a video, in time
or in the picture, can be read alone.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dsta.common import UserError
from dsta.video.clock import RATES, Clock, measure_video
from dsta.video.container import MOST_PIXELS, decoded, open_video
from dsta.video.upright import orientation, square_pixels, upright

FPS = 25.0
"""Frames per second that are read; WLASL and the published networks use 25."""
MAX_SECONDS = 60.0
MAX_SIDE = 1280
"""Longest side of a frame handed out, in pixels; larger frames are scaled down while they are decoded."""

_LARGEST, _SMALLEST = 8192, 64  # longest side of a video's frame in pixels: beyond is refused
_MOST_DECODED = 16e9  # pixels of all decoded frames together: a minute of 4K at 30 a second, or of 1080p at 120
_SLACK = 0.5  # seconds over the limit that are let pass: containers round durations up
_LEAD = 1.0  # seconds before a part at which decoding begins: a key frame's own time may lie a little later


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as a viewer sees it: `time` in seconds since the first frame, `image` (H, W, 3) uint8 RGB."""

    time: float
    image: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """What a video is: upright `width`, `height` in square pixels; `duration` in seconds and `rate` in frames per
    second, as claimed or measured, None where unknown; `codec` as FFmpeg names it; `steady`, whether its clock is known
    not to jump, or nobody looked."""

    width: int
    height: int
    duration: float | None
    rate: float | None
    codec: str
    steady: bool = True


def probe(
    path: str | Path, *, max_seconds: float = MAX_SECONDS, start: float = 0.0, end: float | None = None
) -> VideoInfo:
    """Look at a video without decoding it all: its header, and its first frame for the orientation.

    What the header says of duration and rate is not believed where it is missing or longer than `max_seconds`: then
    the packets' stamps are looked at. So they are where a part is asked for, from `start` to `end` (seconds), up to a
    second beyond it; `max_seconds` does not count then.
    Raises UserError for anything that `read_frames` could not read, and for a video that is too long.
    """
    path = Path(path)
    with open_video(path) as (container, stream):
        codec, rate = stream.codec_context.name, _believable_rate(stream)
        duration = _claimed_duration(container, stream)
        _check_size(path, stream.codec_context.width, stream.codec_context.height)
        frame = next(decoded(container, stream), (None, None))[1]
        if frame is None:
            raise UserError(f"{path.name} is damaged: none of its pictures can be decoded; copy or record it again.")
        _check_size(path, frame.width, frame.height)
        width, height = square_pixels(frame, stream)
        if orientation(frame)[0]:
            width, height = height, width
    steady, part = True, start > 0 or end is not None
    if part or duration is None or duration > max_seconds + _SLACK:
        until = max_seconds + 2 * _SLACK if not part else inf if end is None else end + _LEAD
        measured = measure_video(path, until)
        if not part:
            _check_length(path, measured.seconds if duration is None else measured.span, max_seconds)
        duration, rate, steady = measured.seconds, measured.rate or rate, measured.steady
    return VideoInfo(width, height, duration or None, rate, codec, steady)


Box = tuple[int, int, int, int]
"""A part of the picture: left, top, right, bottom in pixels of the upright video; right and bottom lie outside."""


def read_frames(
    path: str | Path,
    *,
    fps: float = FPS,
    max_seconds: float = MAX_SECONDS,
    max_side: int = MAX_SIDE,
    start: float = 0.0,
    end: float | None = None,
    box: Box | None = None,
    info: VideoInfo | None = None,
) -> Generator[Frame, None, None]:
    """Read a video's frames, upright, at most `fps` a second, longest side at most `max_side` pixels.

    Time is cut into steps of 1/fps, and the frame shown in the middle of each step is taken: the middle, because a
    25 fps video whose timestamps jitter then still gives each of its frames. Frames are picked by their timestamps,
    so a variable frame rate is right. No frame comes twice: a slower video gives each of its frames once.
    All frames have the first one's size. A video with damaged or missing parts gives what can be decoded.
    Of a part from `start` to `end` (seconds since the video's first frame), the frames shown from `start` on are read,
    that at `end` is not, and times count from its first one. With a `box`, only that part of the picture is handed out.
    info: what `probe` said of the file, where it was asked before.

    The file is checked at the call, and frames are decoded as they are asked for. Raises UserError for a file that is
    no readable video, is longer than `max_seconds`, has frames beyond 8192 or below 64 pixels or 33 megapixels, more of
    them than can be decoded in a minute or so, or fewer than two; of a part, its own length counts.
    """
    path, part = Path(path), (start, inf if end is None else end)
    info = info or probe(path, max_seconds=max_seconds, start=start, end=end)
    if info.duration is not None and start >= info.duration:
        raise UserError(f"{path.name} ends before {start:g} s, where the sign is said to begin: get the full video.")
    return _pictures(_picked(path, info, fps, max_seconds, part), info, max_side, box)


def _picked(
    path: Path, info: VideoInfo, fps: float, max_seconds: float, part: tuple[float, float]
) -> Iterator[tuple[float, VideoFrame]]:
    """The time and frame shown in the middle of each step of 1/fps; of a part of a video."""

    def steps(time: float) -> int:  # how many middles of steps lie before this time
        return ceil(time * fps - 0.5 - 1e-6)

    rate, most = info.rate or fps, (max_seconds + _SLACK) * RATES[1]
    given, read, shown, since = 0, 0, None, 0.0
    with open_video(path) as (container, stream):
        for count, (time, frame) in enumerate(_part(container, stream, rate, info.steady, part)):
            _check_length(path, time if count < most else inf, max_seconds)
            _check_size(path, frame.width, frame.height, count + 1)
            if shown is not None and steps(time) > steps(since):
                yield since, shown
                given += 1
            read, shown, since = count + 1, frame, time
        if shown is not None and (steps(since + 1 / rate) > steps(since) or given == 1):
            yield since, shown
            given += 1
    if given < 2:
        found = {0: "holds no readable frame", 1: "holds only one readable frame"}.get(read, "is too short")
        raise UserError(f"{path.name} {found}; a sign needs several frames.")


def _pictures(
    picked: Iterator[tuple[float, VideoFrame]], info: VideoInfo, max_side: int, box: Box | None
) -> Generator[Frame, None, None]:
    """The frames as a viewer sees them, scaled, and cut to the box where there is one."""
    left, top, right, bottom = box or (0, 0, info.width, info.height)
    scale = min(1.0, max_side / max(right - left, bottom - top))
    size = max(1, round(info.width * scale)), max(1, round(info.height * scale))
    rows, columns = (slice(round(a * scale), max(1, round(b * scale))) for a, b in ((top, bottom), (left, right)))
    turn = None
    for time, frame in picked:
        turn = turn or orientation(frame)
        image = upright(frame, turn, size)
        yield Frame(time, image if box is None else np.ascontiguousarray(image[rows, columns]))


def _part(
    container: InputContainer, stream: VideoStream, rate: float, steady: bool, part: tuple[float, float]
) -> Iterator[tuple[float, VideoFrame]]:
    """The frames from the part's start on, up to before its end, to the nearest frame; and the seconds since the first
    of them."""
    (start, end), half = part, 0.5 / rate
    frames, clock, begun = decoded(container, stream), Clock(rate), None
    if start > _LEAD and steady:
        first = next(frames, (None, None))[0] or 0.0
        frames, clock = _sought(container, stream, first + start - _LEAD), Clock(rate, first)
    for stamp, frame in frames:
        now = clock.read(stamp)
        if now >= end - half:
            return
        if now >= start - half:
            begun = now if begun is None else begun
            yield now - begun, frame


def _sought(container: InputContainer, stream: VideoStream, stamp: float) -> Iterator[tuple[float | None, VideoFrame]]:
    """Frames from the last key frame before a timestamp on; from the first one where the file cannot be sought."""
    assert stream.time_base is not None  # FFmpeg gives each stream of pictures one
    try:
        container.seek(round(stamp / stream.time_base), stream=stream)
        frames = decoded(container, stream, sought=True)
        first = next(frames, None)
    except av.error.FFmpegError:
        first = None
    if first is not None and first[0] is not None and first[0] <= stamp + _LEAD / 2:
        yield first
        yield from frames
        return
    container.seek(0)
    yield from decoded(container, stream)


def _believable_rate(stream: VideoStream) -> float | None:
    rates = (float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate)
    return next((rate for rate in rates if RATES[0] <= rate <= RATES[1]), None)


def _claimed_duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and container.duration > 0:
        return container.duration / av.time_base
    return None


def _check_length(path: Path, seconds: float, max_seconds: float) -> None:
    if seconds > max_seconds + _SLACK:
        raise UserError(
            f"{path.name} is longer than {max_seconds:g} seconds; cut out the part with the sign and send that."
        )


def _check_size(path: Path, width: int, height: int, frames: int = 1) -> None:
    longest = max(width, height)
    if longest > _LARGEST or width * height > MOST_PIXELS:
        raise UserError(f"{path.name} is {width}×{height} pixels, which is too large; scale it down to 1280 or less.")
    if frames * width * height > _MOST_DECODED:
        raise UserError(f"{path.name} has too many frames for {width}×{height} pixels; scale it down to 1280 or less.")
    if 0 < longest < _SMALLEST:
        raise UserError(f"{path.name} is only {width}×{height} pixels; the longer side needs at least {_SMALLEST}.")
