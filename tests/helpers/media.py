"""Videos for tests, written with PyAV as the tests run: none is stored."""

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder talks to stderr

import av
import numpy as np
import pytest
from av.stream import Disposition

_OPTIONS = {
    "libx264": {"preset": "ultrafast", "qp": "10"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12"},
    "mpeg4": {"qmin": "1", "qmax": "2"},
}


def numbered(count: int, width: int = 96, height: int = 64) -> list[np.ndarray]:
    """Grey pictures, each 16 levels brighter than the one before (modulo 240): `number_of` reads which it is."""
    return [np.full((height, width, 3), 8 + 16 * (i % 15), np.uint8) for i in range(count)]


def number_of(image: np.ndarray) -> int:
    return round((float(image.mean()) - 8) / 16)


def corners(width: int = 96, height: int = 64) -> np.ndarray:
    """A picture whose corners tell how it was turned: red at the top left, green top right, blue bottom left."""
    image, y, x = np.zeros((height, width, 3), np.uint8), height // 2, width // 2
    image[:y, :x, 0] = image[:y, x:, 1] = image[y:, :x, 2] = 255
    return image


def write_video(
    path: Path,
    images: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    fps: int = 25,
    times: Sequence[int] | None = None,
    rotation: int | None = None,
    hflip: bool = False,
    pixel_shape: Fraction | None = None,
    options: dict[str, str] | None = None,
    b_frames: int = 0,
) -> Path:
    """Write `images` at `fps`, or at `times` in milliseconds. `rotation` is the display matrix's, counter-clockwise.

    Skips the test where the `av` wheel lacks the encoder.
    """
    try:
        av.codec.Codec(codec, "w")
    except ValueError:  # PyAV's UnknownCodecError
        pytest.skip(f"this av wheel has no encoder {codec}")
    images = list(images)
    with av.open(str(path), "w", options=options or {}) as container:
        more = {"bf": str(b_frames), "b_strategy": "0"} if b_frames else {}
        stream = container.add_stream(codec, rate=fps, options=_OPTIONS.get(codec, {}) | more)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if pixel_shape is not None:
            stream.codec_context.sample_aspect_ratio = pixel_shape
        if rotation is not None or hflip:
            stream.set_display_rotation(rotation or 0, hflip=hflip)
        stream.codec_context.time_base = Fraction(1, 1000) if times else Fraction(1, fps)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (times[i] if times else i), stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_streams(path: Path, *streams: tuple[str, list[np.ndarray], int, Disposition]) -> Path:
    """Several streams of pictures in one file, each of (codec, images, fps, disposition)."""
    with av.open(str(path), "w") as container:
        made = []
        for codec, images, fps, disposition in streams:
            stream = container.add_stream(codec, rate=fps, options=_OPTIONS.get(codec, {}))
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            made.append((stream, images))
        for stream, images in made:
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    return path


def claim_seconds(path: Path, seconds: float) -> Path:
    """Changes what an mp4's track header says of its duration."""
    data = bytearray(path.read_bytes())
    place = data.index(b"mdhd") + 16  # after version and two dates: ticks a second, and their number
    ticks = int.from_bytes(data[place : place + 4])
    data[place + 4 : place + 8] = round(seconds * ticks).to_bytes(4)
    path.write_bytes(data)
    return path


def write_sound(path: Path) -> Path:
    """Half a second of silence, and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for i in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 1024 * i, Fraction(1, 16000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
