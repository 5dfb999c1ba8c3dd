"""A video file opened, its main stream chosen, its frames decoded, each with its stamp; or one clear sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from math import inf
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dsta.common import UserError
from dsta.video.claims import impossible

MOST_PIXELS = 7680 * 4320
"""Of one picture; larger ones are not decoded."""

RESET = 0.7
"""Seconds that a stamp may lie before an earlier frame's, when a container tells the order of decoding; more than that
is a clock that begins anew."""

# Only demuxers of plain files: FFmpeg would also follow playlists, which name other files and web addresses.
_FORMATS = "mov,mp4,matroska,webm,avi"
# What cameras, browsers and editors write; FFmpeg knows hundreds more, most of them of games and long forgotten.
_CODECS = (
    "h264 hevc vp8 vp9 av1 mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4v3 mpeg1video mpeg2video mjpeg h263 flv1 theora prores"
)
_CODECS += " dnxhd dvvideo wmv1 wmv2 wmv3 vc1 ffv1 huffyuv rawvideo png bmp webp gif tiff"
_DECODERS = f"{_CODECS} libdav1d libvpx libvpx-vp9 msmpeg4 flv".split()
_PICTURES = ("mjpeg", "png", "bmp", "webp", "gif", "tiff")  # codecs of covers, as well as of some old cameras
_THUMBNAILS = Disposition.attached_pic | Disposition.timed_thumbnails
_SMALL = 1 / 8  # of the largest stream's area: a stream of less is a preview
_MOST_WAITING = 32  # stamps of packets that no frame came of; no codec holds back so many frames

av.logging.set_level(None)  # FFmpeg's own lines must not reach stderr


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its picture stream; every way in which a file is no video becomes a UserError."""
    _check_file(path)
    try:
        # "file:" keeps a name such as "concat:a|b" or "http:…" from being taken for another protocol.
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file", "codec_whitelist": ",".join(_DECODERS)}
        options |= {"max_pixels": str(MOST_PIXELS)}
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise UserError(_why_unreadable(path)) from error
    with container:
        streams = [s for s in container.streams.video if not s.disposition & _THUMBNAILS]
        if not streams:
            raise UserError(f"{path.name} has no pictures, only sound or data; record it with the camera on.")
        readable = [s for s in streams if s.codec_context and s.codec_context.codec.canonical_name in _CODECS.split()]
        if not readable:
            raise UserError(f"{path.name} uses a codec that cannot be read; convert it to mp4 with H.264.")
        stream = _main_stream(readable)
        stream.codec_context.thread_count = 1  # each more holds frames; looking at them is the slow part
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        try:
            yield container, stream
        except MemoryError as error:
            raise UserError(f"{path.name} takes too much memory; scale it down to 1280 pixels or less.") from error


def _main_stream(streams: list[VideoStream]) -> VideoStream:
    """The one that a viewer means: no cover, no preview, and of what is left the default one, then the largest."""

    def area(stream: VideoStream) -> int:
        return stream.codec_context.width * stream.codec_context.height

    largest = max(map(area, streams))

    def rank(stream: VideoStream) -> tuple[bool, bool, bool, int]:
        still = stream.codec_context.name in _PICTURES or 0 < stream.frames <= 2
        default = bool(stream.disposition & Disposition.default)
        return not still, area(stream) >= _SMALL * largest, default, area(stream)

    return max(streams, key=rank)


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise UserError(f"{path.name or path} is a folder; name a video file in it.")
        if not path.is_file():
            raise UserError(f"{path.name} was not found; check the path.")
        if path.stat().st_size == 0:
            raise UserError(f"{path.name} is empty (0 bytes); copy or record it again.")
        wrong = impossible(path)
    except OSError as error:
        raise UserError(f"{path.name} cannot be opened ({error.strerror}); check its name and permissions.") from error
    if wrong:
        raise UserError(f"{path.name} is damaged: it claims more pictures than it can hold; copy or record it again.")


def _why_unreadable(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    kind = head[8:12] if head[:4] == b"RIFF" or head[4:8] == b"ftyp" else b""
    if kind == b"WAVE":
        return f"{path.name} has no pictures, only sound or data; record it with the camera on."
    if kind in (b"WEBP", b"heic", b"heix", b"mif1", b"msf1", b"avif"):
        return f"{path.name} is a picture; a sign needs a video."
    if head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3" or kind == b"AVI ":  # mp4 and mov, webm and mkv, avi
        return f"{path.name} is cut off or damaged, its index is missing; copy or record it again."
    return f"{path.name} is not a video that can be read; use an mp4, mov, webm, mkv or avi file."


def packet_stamp(packet: Packet) -> float | None:
    """A packet's time in seconds, that of decoding where there is no other; None where there is none at all."""
    stamp = packet.pts if packet.pts is not None else packet.dts
    return None if stamp is None or packet.time_base is None else float(stamp * packet.time_base)


def decoded(
    container: InputContainer, stream: VideoStream, sought: bool = False
) -> Iterator[tuple[float | None, VideoFrame]]:
    """Every frame that can be decoded, with its stamp in seconds; damaged packets are skipped, and a damaged end is the
    end.

    Frames come in the order in which they are shown. Some containers tell the order of decoding alone (AVI, whose
    B-frames then seem to run back and forth): where a stamp is not above the last one, the packets' stamps are handed
    out in rising order instead, from the first frame's own on. sought: the container was moved to a later key frame;
    then packets may come of which no frame does, and frames' own stamps are taken as long as they rise.
    """
    rising, last = sought or container.format.name != "avi", -inf
    waiting: list[float] = []
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)  # the last packet is an empty one that makes the decoder hand out the rest
        except av.error.FFmpegError:
            packet = None
        stamp = packet_stamp(packet) if packet is not None else None
        if stamp is not None:
            heappush(waiting, stamp)
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.EOFError:
            return
        except MemoryError:  # which is an FFmpegError too
            raise
        except av.error.FFmpegError:
            frames = []
            if stamp is not None:
                waiting.remove(stamp)
                heapify(waiting)
        for frame in frames:
            own = frame.time
            rising = rising and (own is None or own > last or own < last - RESET)
            while waiting and not rising and waiting[0] < last:
                heappop(waiting)
            lowest = heappop(waiting) if waiting else None
            shown = own if rising or last == -inf else lowest
            last = shown if shown is not None else last
            yield shown, frame
        while len(waiting) > _MOST_WAITING:
            heappop(waiting)
        if packet is None:
            return
