"""A stranger's file → its joints and their pictures. Run as a program, it does so in a process of its own, for the page
that started it; `dsta.page.finder` is the other side.

What passes between the two is JSON and bytes, so that nothing a video could make of this process reaches the page as a
program.
"""

import io
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dsta.common import UserError
from dsta.keypoints import POSE_SUFFIXES, Pose
from dsta.page import draw
from dsta.spans import Span
from dsta.video import Follower, Frame, Progress, VideoInfo, extract, liveliest, probe

LONGEST = 10.0
"""Seconds of a video in which joints are looked for; of a longer one only a part."""
_SHORTEST = 0.5  # seconds that a part has at least
_ROUNDING = 0.5  # seconds beyond LONGEST that are let pass: containers round durations up
_MOST_ASKED = 10_000  # bytes of a request
_MOST_PICTURE, _WIDEST, _NARROWEST = 2**20, 1280, 64  # bytes of a camera's picture, pixels of its sides

STOP = b"stop"
"""Sent instead of a request: nobody waits any more, and what is kept for pictures is forgotten."""


@dataclass(frozen=True)
class Part:
    """What was looked at of a long video, in seconds. seconds: how long the whole is. movement: 0..1, in steps of equal
    length through the whole; empty where the part was asked for."""

    start: float
    end: float
    seconds: float
    movement: tuple[float, ...] = ()


class Pictures(NamedTuple):
    """The video with its skeleton, standing still and moving, as WebP files."""

    still: bytes
    moving: bytes


@dataclass(frozen=True)
class Found:
    """pose: the joints. part: of a long video. draw: makes the pictures, which takes a while; None of a skeleton
    file."""

    pose: Pose
    part: Part | None = None
    draw: Callable[[], Pictures] | None = None


def found_in(path: Path, fps: float, asked: Span | None, progress: Progress) -> Found:
    """Reads a skeleton file, or looks for the joints in a video, at most `fps` frames a second.

    asked: the part to look at; by default the whole of a video, or the liveliest seconds of a long one. progress: what
    it raises ends the work. Raises UserError for a file that cannot be used.
    """
    if path.suffix.lower() in POSE_SUFFIXES:
        return Found(Pose.load(path))
    progress("Reading the video", 0.0)
    info, shots = probe(path), draw.Snapshots()
    part = _part(path, info, asked, progress)
    if part is None:
        pose = extract(path, fps=fps, progress=progress, info=info, on_frame=shots.add)
    else:
        pose = extract(path, fps=fps, progress=progress, start=part.start, end=part.end, on_frame=shots.add)
    return Found(pose, part, partial(_drawn, shots, pose))


def _drawn(shots: draw.Snapshots, pose: Pose) -> Pictures:
    frames, seconds = draw.overlay(shots, pose), len(pose.keypoints) / pose.fps
    still = draw.to_webp([frames[len(frames) // 2]])
    return Pictures(still, draw.to_webp(frames, fps=len(frames) / max(seconds, 0.1)))


def _part(path: Path, info: VideoInfo, asked: Span | None, progress: Progress) -> Part | None:
    """The part to look at; None for all of a short video. Raises UserError where it is none."""
    seconds = info.duration or 0.0
    if asked is not None:
        start, end = asked
        if not (0 <= start < max(seconds, _SHORTEST) and _SHORTEST <= end - start <= LONGEST + _ROUNDING):
            raise UserError(f"A part must take {_SHORTEST:g} to {LONGEST:g} seconds of the video: choose another one.")
        return Part(start, end, seconds)
    if seconds <= LONGEST + _ROUNDING:
        return None

    def looked_at(frame: Frame) -> None:
        progress("Looking for the liveliest part", min(frame.time / seconds, 1.0))

    lively = liveliest(path, info, on_frame=looked_at)
    return Part(lively.start, lively.end, seconds, lively.movement)


class Gone(Exception):
    """Nobody waits for the answer any more."""


def main(descriptor: int, memory: int) -> None:
    """Answers one request after another, until the page closes the connection.

    memory: bytes of addresses that may be taken beyond those of a process that is ready.
    """
    connection, camera = Connection(descriptor), Camera()
    found: Found | None = None  # kept until its pictures are asked for, or anything else is
    _limit(memory)
    with suppress(EOFError, ConnectionError):  # the page has ended
        connection.send_bytes(b'{"ready": true}')
        while True:
            request = connection.recv_bytes(_MOST_ASKED)
            asked = {} if request == STOP else json.loads(request)
            if "draw" in asked and found is not None and found.draw is not None:
                _draw(connection, found.draw)
            elif "look" in asked:
                _say_what_is_seen(connection, camera, asked, connection.recv_bytes(_MOST_PICTURE))
            found = _answer(connection, asked) if "path" in asked else None


class Camera:
    """Follows the person whom a camera shows, picture by picture."""

    def __init__(self) -> None:
        self._follower: Follower | None = None

    def see(self, jpeg: bytes, seconds: float, first: bool) -> tuple[np.ndarray, tuple[int, int]]:
        """(27, 3) joints in the picture's pixels, and its width and height. first: of another camera than before.
        Raises UserError for what is no JPEG of a camera's size."""
        try:
            with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
                if max(picture.size) > _WIDEST or min(picture.size) < _NARROWEST:
                    raise UserError(f"A camera's picture has {_NARROWEST} to {_WIDEST} pixels a side.")
                image = np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError("This is no JPEG: send the camera's picture as one.") from error
        if self._follower is None:
            self._follower = Follower()
        elif first:
            self._follower.begin()
        return self._follower.joints(Frame(seconds, image)), (image.shape[1], image.shape[0])


def _say_what_is_seen(connection: Connection, camera: Camera, asked: dict, jpeg: bytes) -> None:
    """Sends the picture's size and then its joints; or problem, bug or memory."""
    try:
        joints, size = camera.see(jpeg, asked["look"], asked["first"])
    except UserError as error:
        connection.send_bytes(json.dumps({"problem": str(error)}).encode())
    except MemoryError:
        connection.send_bytes(b'{"memory": true}')
    except Exception:
        connection.send_bytes(json.dumps({"bug": traceback.format_exc()}).encode())
    else:
        connection.send_bytes(json.dumps({"size": size}).encode())
        connection.send_bytes(joints.astype(np.float32).tobytes())


def _answer(connection: Connection, request: dict) -> Found | None:
    """Sends what is done, again and again, and at last one of: found, problem, bug, memory, stopped. Returns what was
    found."""

    def progress(step: str, share: float) -> None:
        if _is_stopped(connection):
            raise Gone
        _tell(connection, step=step, share=share)

    with _told(connection):
        asked = Span(*request["part"]) if request["part"] else None
        found = found_in(Path(request["path"]), request["fps"], asked, progress)
        pose, part = found.pose, asdict(found.part) if found.part else None
        about = {"fps": pose.fps, "width": pose.width, "height": pose.height, "estimator": pose.estimator}
        _tell(connection, found=about, part=part, filmed=found.draw is not None)
        connection.send_bytes(pose.keypoints.tobytes())
        return found
    return None


def _draw(connection: Connection, draw: Callable[[], Pictures]) -> None:
    """Sends the pictures of what was found last; or bug, memory, stopped."""
    with _told(connection):
        pictures = draw()
        if _is_stopped(connection):
            raise Gone
        _tell(connection, drawn=True)
        for content in pictures:
            connection.send_bytes(content)


def _is_stopped(connection: Connection) -> bool:
    """Whether nobody waits any more for what is being done."""
    while connection.poll():
        if connection.recv_bytes(_MOST_ASKED) == STOP:
            return True
    return False


def _tell(connection: Connection, **what: object) -> None:
    connection.send_bytes(json.dumps(what).encode())


@contextmanager
def _told(connection: Connection) -> Iterator[None]:
    """Work whose end without an answer is sent: stopped, problem, memory or bug."""
    try:
        yield
    except (EOFError, ConnectionError):  # the page has ended
        raise
    except Gone:
        _tell(connection, stopped=True)
    except UserError as error:
        _tell(connection, problem=str(error))
    except MemoryError:
        _tell(connection, memory=True)
    except Exception:
        _tell(connection, bug=traceback.format_exc())


def _limit(memory: int) -> None:
    """Loads what looking for joints takes, then lets this process grow by `memory` alone, and write no core of what it
    holds."""
    import resource  # here, as the page imports this file wherever it runs

    blank = np.zeros((64, 64, 3), np.uint8)
    try:
        from dsta.video.holistic import extract_frames

        extract_frames([Frame(0.0, blank), Frame(0.1, blank)], 64, 64)
    except UserError:  # nobody is there; or the pose model is missing, which a visitor is told
        pass
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
