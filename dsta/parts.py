"""One clip of a list → its joints; and the folder in which finished clips wait until all are there."""

import hashlib
import json
from collections.abc import Container
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from dsta.errors import UserError
from dsta.files import replace_file
from dsta.keypoints import Pose
from dsta.lists import KEYPOINTS, Item
from dsta.pose import BUNDLE_SHA256, ESTIMATOR, extract
from dsta.video import VideoInfo, probe

_CUT = 0.25  # seconds: a file that is longer than a part by no more than that is the part
_MARGIN = 0.2  # of the box's width and height is left on each side of it, for the hands
_MOST_OF_IT = 0.7  # of the picture: a larger crop is not worth its edges
_SMALLEST = 64  # pixels of a crop's longer side


def find_joints(item: Item, fps: float) -> Pose:
    """The joints of a clip, at most `fps` frames a second of a video: found in its part and box, or, from a keypoint
    file, read. Raises UserError."""
    if item.file.suffix.lower() in KEYPOINTS:
        pose = Pose.load(item.file)
        start, end = _part(item, len(pose.keypoints) / pose.fps)
        kept = pose.keypoints[round(start * pose.fps) : None if end is None else round(end * pose.fps)]
        if len(kept) < 2:
            raise UserError(f"{item.file.name} has {len(kept)} frames from {start:g} s on; a sign needs several.")
        return replace(pose, keypoints=kept)
    info = probe(item.file, max_seconds=inf)
    start, end = _part(item, info.duration)
    return extract(item.file, fps=fps, start=start, end=end, box=crop(item, info))


def _part(item: Item, duration: float | None) -> tuple[float, float | None]:
    """The part of the file to read. A file no longer than the part is the part, cut out before: all of it is read."""
    if item.end is not None and duration is not None and duration <= item.end - item.start + _CUT:
        return 0.0, None
    return item.start, item.end


def crop(item: Item, info: VideoInfo) -> tuple[int, int, int, int] | None:
    """Where in the picture the signer is looked for: the list's box and a margin, so that another person beside does
    not count. None where that is most of the picture.

    A box in pixels is of the video as it once was. WLASL's boxes reach the picture's lower edge; where one does not,
    the file has another size than the one that was boxed, and the box says nothing.
    """
    if item.box is None:
        return None
    left, top, right, bottom = item.box
    if not item.box_in_pixels:
        left, top, right, bottom = left * info.width, top * info.height, right * info.width, bottom * info.height
    elif right > info.width + 1 or not 0.95 * info.height <= bottom <= info.height + 1:
        return None
    across, down = _MARGIN * (right - left), _MARGIN * (bottom - top)
    left, top = max(0, round(left - across)), max(0, round(top - down))
    right, bottom = min(info.width, round(right + across)), min(info.height, round(bottom + down))
    width, height = right - left, bottom - top
    if max(width, height) < _SMALLEST or width * height > _MOST_OF_IT * info.width * info.height:
        return None
    return left, top, right, bottom


def made_from(item: Item, fps: float) -> str:
    """Hash of what a clip's joints depend on: the file (name, size and time of change), part, box, rate, model."""
    stat = item.file.stat()
    parts = [item.file.name, stat.st_size, stat.st_mtime_ns, item.start, item.end, item.box, item.box_in_pixels]
    if item.file.suffix.lower() not in KEYPOINTS:
        parts += [fps, ESTIMATOR, BUNDLE_SHA256]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Parts:
    """Finished clips: a keypoint file for each, or the sentence why there is none; named by what it is made from."""

    folder: Path

    def add(self, key: str, pose: Pose | None, problem: str = "") -> None:
        """Keeps a clip's joints, or its problem; whole or not at all. Raises UserError where it cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if pose is None:
                replace_file(self.folder / f"{key}.txt", problem.encode())
            else:
                pose.save(self.folder / f"{key}.npz")
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror or error}): what is finished is kept; make room and "
                "run the same command again."
            ) from error

    def has(self, key: str) -> bool:
        return (self.folder / f"{key}.npz").exists() or (self.folder / f"{key}.txt").exists()

    def problem(self, key: str) -> str:
        """Why a clip has no joints; empty when it has."""
        path = self.folder / f"{key}.txt"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def pose(self, key: str) -> Pose:
        """A finished clip's joints. Raises UserError for a file that a crash left damaged, and removes it."""
        path = self.folder / f"{key}.npz"
        try:
            return Pose.load(path)
        except UserError as error:
            path.unlink(missing_ok=True)
            raise UserError(f"{path} was damaged and is thrown away: run the same command again.") from error

    def clear(self, used: Container[str]) -> int:
        """Throws away the joints that are used and all problems, which may be mended by the next run; returns how many
        clips are left. Raises OSError."""
        left = 0
        for path in self.folder.iterdir() if self.folder.exists() else ():
            if path.suffix == ".npz" and path.stem not in used:
                left += 1
            else:
                path.unlink()
        if not left and self.folder.exists():
            self.folder.rmdir()
        return left
