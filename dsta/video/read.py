"""A video file → timed, upright RGB frames, or one clear sentence.

mp4, mov, webm, mkv and avi, with whatever codec the `av` wheel decodes (H.264, HEVC, VP8, VP9, AV1 and more).
Frames are streamed: two decoded frames are in memory at a time, whatever the video's length. A part of a video, in time
or in the picture, can be read alone.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from math import ceil, inf
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dsta.common import UserError
from dsta.video.upright import orientation, square_pixels, upright

FPS = 25.0
"""Frames per second that are read; WLASL and the published networks use 25."""
MAX_SECONDS = 60.0
MAX_SIDE = 1280
"""Longest side of a frame handed out, in pixels; larger frames are scaled down while they are decoded."""

_LARGEST, _SMALLEST = 8192, 64  # longest side of a video's frame in pixels: beyond is refused
_SLACK = 0.5  # seconds over the limit that are let pass: containers round durations up
_MAX_GAP = 5.0  # seconds between two frames; a longer gap is a jump of the clock, not a pause
_RATES = (1.0, 240.0)  # believable frame rates; MediaRecorder's webm says 1000 when it means "unknown"
# Only demuxers of plain files: FFmpeg would also follow playlists, which name other files and web addresses.
_FORMATS = "mov,mp4,matroska,webm,avi"
_LEAD = 1.0  # seconds before a part at which decoding begins: a key frame's own time may lie a little later

av.logging.set_level(None)  # FFmpeg's own lines must not reach stderr


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as a viewer sees it: `time` in seconds since the first frame, `image` (H, W, 3) uint8 RGB."""

    time: float
    image: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself: upright `width`, `height` in square pixels; `duration` in seconds and
    `rate` in frames per second, None where unknown; `codec` as FFmpeg names it."""

    width: int
    height: int
    duration: float | None
    rate: float | None
    codec: str


def probe(path: str | Path, *, max_seconds: float = MAX_SECONDS) -> VideoInfo:
    """Look at a video without reading it all: its header, and its first frame for the orientation.

    Raises UserError for anything that `read_frames` could not read, and for a video that is too long.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        codec, rate = stream.codec_context.name, _believable_rate(stream)
        duration = _duration(container, stream)
        if duration is not None:
            _check_length(path, duration, max_seconds)
        _check_size(path, stream.codec_context.width, stream.codec_context.height)
        frame = next(_decoded(container, stream), None)
        if frame is None:
            raise UserError(f"{path.name} is damaged: none of its pictures can be decoded; copy or record it again.")
        _check_size(path, frame.width, frame.height)
        width, height = square_pixels(frame, stream)
        if orientation(frame)[0]:
            width, height = height, width
    if duration is None:
        duration = _measured_duration(path, max_seconds)
        _check_length(path, duration, max_seconds)
    return VideoInfo(width, height, duration or None, rate, codec)


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
    no readable video, is longer than `max_seconds`, has frames beyond 8192 or below 64 pixels, or has fewer than two;
    of a part, its own length counts.
    """
    path, part = Path(path), (start, inf if end is None else end)
    info = info or probe(path, max_seconds=max_seconds if part == (0, inf) else inf)
    if info.duration is not None and start >= info.duration:
        raise UserError(f"{path.name} ends before {start:g} s, where the sign is said to begin: get the full video.")
    return _pictures(_picked(path, info.rate or fps, fps, max_seconds, part), info, max_side, box)


def _picked(
    path: Path, rate: float, fps: float, max_seconds: float, part: tuple[float, float]
) -> Iterator[tuple[float, VideoFrame]]:
    """The time and frame shown in the middle of each step of 1/fps; of a part of a video of `rate` frames a second."""

    def steps(time: float) -> int:  # how many middles of steps lie before this time
        return ceil(time * fps - 0.5 - 1e-6)

    given, shown, since, clock = 0, None, 0.0, _Clock(rate)
    with _opened(path) as (container, stream):
        for frame in _part(container, stream, rate, *part):
            time = clock.read(frame)
            _check_length(path, time, max_seconds)
            _check_size(path, frame.width, frame.height)
            if shown is not None and steps(time) > steps(since):
                yield since, shown
                given += 1
            shown, since = frame, time
        if shown is not None and (steps(since + clock.step) > steps(since) or given == 1):
            yield since, shown
            given += 1
    if given < 2:
        raise UserError(f"{path.name} holds only one readable frame; a sign needs several frames.")


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
    container: InputContainer, stream: VideoStream, rate: float, start: float, end: float
) -> Iterator[VideoFrame]:
    """The frames from `start` on, up to before `end`, to the nearest frame."""
    frames = _decoded(container, stream)
    if start == 0 and end == inf:
        yield from frames
        return
    first = next(frames, None)
    origin = first.time if first is not None and first.time is not None else 0.0
    if start > _LEAD:
        frames = _sought(container, stream, origin + start - _LEAD)
    elif first is not None:
        frames = chain([first], frames)
    now = -1 / rate
    for frame in frames:
        now = frame.time - origin if frame.time is not None else now + 1 / rate
        if now >= end - 0.5 / rate:
            return
        if now >= start - 0.5 / rate:
            yield frame


def _sought(container: InputContainer, stream: VideoStream, stamp: float) -> Iterator[VideoFrame]:
    """Frames from the last key frame before a timestamp on; from the first one where the file cannot be sought."""
    assert stream.time_base is not None  # FFmpeg gives each stream of pictures one
    try:
        container.seek(round(stamp / stream.time_base), stream=stream)
        frames = _decoded(container, stream)
        first = next(frames, None)
    except av.error.FFmpegError:
        first = None
    if first is not None and first.time is not None and first.time <= stamp + _LEAD / 2:
        yield first
        yield from frames
        return
    container.seek(0)
    yield from _decoded(container, stream)


class _Clock:
    """Seconds since the first frame, always rising, whatever the container's timestamps do.

    Timestamps that are missing, stand still, run back or jump (concatenated or live-recorded files) count as one
    frame at the usual rate.
    """

    def __init__(self, rate: float) -> None:
        self.step = 1 / rate
        self._now = -self.step
        self._stamp: float | None = None

    def read(self, frame: VideoFrame) -> float:
        stamp = frame.time
        passed = stamp - self._stamp if stamp is not None and self._stamp is not None else 0.0
        # A smaller step than the fastest believable rate is no time either: it would let a file never end.
        self._now += passed if 1 / _RATES[1] / 2 < passed <= _MAX_GAP else self.step
        self._stamp = stamp
        return self._now


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its picture stream; every way in which a file is no video becomes a UserError."""
    _check_file(path)
    try:
        # "file:" keeps a name such as "concat:a|b" or "http:…" from being taken for another protocol.
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UserError(_why_unreadable(path)) from error
    with container:
        stream = next((s for s in container.streams.video if not s.disposition & s.disposition.attached_pic), None)
        if stream is None:
            raise UserError(f"{path.name} has no pictures, only sound or data; record it with the camera on.")
        if stream.codec_context is None:
            raise UserError(f"{path.name} uses a codec that cannot be read; convert it to mp4 with H.264.")
        stream.codec_context.thread_count = 1  # each more holds frames; MediaPipe is the slow part
        yield container, stream


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path.name or path} is a folder; name a video file in it.")
    if not path.is_file():
        raise UserError(f"{path.name} was not found; check the path.")
    if path.stat().st_size == 0:
        raise UserError(f"{path.name} is empty (0 bytes); copy or record it again.")


def _why_unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        return f"{path.name} cannot be opened ({error.strerror}); check its permissions."
    if head[4:8] == b"ftyp" or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF"):  # mp4 and mov, webm and mkv, avi
        return f"{path.name} is cut off or damaged, its index is missing; copy or record it again."
    return f"{path.name} is not a video that can be read; use an mp4, mov, webm, mkv or avi file."


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Every frame that can be decoded; damaged packets are skipped, and a damaged end is the end."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)  # the last packet is an empty one that makes the decoder hand out the rest
        except av.error.FFmpegError:
            packet = None
        try:
            yield from stream.codec_context.decode(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            pass
        if packet is None:
            return


def _believable_rate(stream: VideoStream) -> float | None:
    rates = (float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate)
    return next((rate for rate in rates if _RATES[0] <= rate <= _RATES[1]), None)


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and container.duration > 0:
        return container.duration / av.time_base
    return None


def _measured_duration(path: Path, max_seconds: float) -> float:
    """Seconds from the first to the last timestamp: a browser's webm has no duration. Nothing is decoded."""
    seconds, last = 0.0, None
    with _opened(path) as (container, stream):
        packets = container.demux(stream)
        while seconds <= max_seconds + _SLACK:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                break
            if packet.pts is None or packet.time_base is None:
                continue
            now = float(packet.pts * packet.time_base)
            if last is not None and abs(now - last) <= _MAX_GAP:  # B-frames step back and forth, and add up right
                seconds += now - last
            last = now
    return seconds


def _check_length(path: Path, seconds: float, max_seconds: float) -> None:
    if seconds > max_seconds + _SLACK:
        raise UserError(
            f"{path.name} is longer than {max_seconds:g} seconds; cut out the part with the sign and send that."
        )


def _check_size(path: Path, width: int, height: int) -> None:
    longest = max(width, height)
    if longest > _LARGEST:
        raise UserError(f"{path.name} is {width}×{height} pixels, which is too large; scale it down to 1280 or less.")
    if 0 < longest < _SMALLEST:
        raise UserError(f"{path.name} is only {width}×{height} pixels; the longer side needs at least {_SMALLEST}.")
