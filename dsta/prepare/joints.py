"""One clip of a list → its joints: which part of its file is looked at, and where in the picture."""

from dataclasses import replace
from math import inf

from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.plausible import misfit
from dsta.prepare.library import KEYPOINT_ENDINGS, ListedClip
from dsta.video import VideoInfo, extract, probe

_CUT_TOLERANCE = 0.25  # seconds: a file that is longer than a part by no more than that is the part
_RATES = (5.0, 240.0)  # frames a second that keypoint files of signs may have
_MARGIN = 0.2  # of the box's width and height is left on each side of it, for the hands
_LARGEST_CROP = 0.7  # of the picture: a larger crop is not worth its edges
_SMALLEST_CROP = 64  # pixels of a crop's longer side


def find_joints(clip: ListedClip, fps: float) -> Pose:
    """The joints of a clip, at most `fps` frames a second of a video: found in its part and box, or, from a keypoint
    file, read. Raises UserError, also where they cannot be a person's."""
    pose = _read_or_find(clip, fps)
    fault = misfit(pose.keypoints, pose.width, pose.height)
    if fault:
        raise UserError(f"{clip.file.name} {fault}")
    return pose


def _read_or_find(clip: ListedClip, fps: float) -> Pose:
    if clip.file.suffix.lower() in KEYPOINT_ENDINGS:
        pose = Pose.load(clip.file)
        if clip.start or clip.end is not None:
            _check_rate(pose, clip.file.name)
        start, end = _part_to_read(clip, len(pose.keypoints) / pose.fps)
        kept = pose.keypoints[round(start * pose.fps) : None if end is None else round(end * pose.fps)]
        if len(kept) < 2:
            raise UserError(f"{clip.file.name} has {len(kept)} frames from {start:g} s on; a sign needs several.")
        return replace(pose, keypoints=kept)
    info = probe(clip.file, max_seconds=inf, start=clip.start, end=clip.end)
    start, end = _part_to_read(clip, info.duration)
    box = crop_box(clip, info)
    return extract(clip.file, fps=fps, start=start, end=end, box=box, info=info, threads=1)  # of many processes


def _check_rate(pose: Pose, name: str) -> None:
    """Raises UserError for a frame rate by which no part can be found."""
    if not _RATES[0] <= pose.fps <= _RATES[1]:
        raise UserError(
            f"{name} claims {pose.fps:g} frames a second, by which the part that is the sign cannot be found: "
            "write the video's rate into it."
        )


def _part_to_read(clip: ListedClip, duration: float | None) -> tuple[float, float | None]:
    """The part of the file to read. A file no longer than the part is the part, cut out before: all of it is read."""
    if clip.end is not None and duration is not None and duration <= clip.end - clip.start + _CUT_TOLERANCE:
        return 0.0, None
    return clip.start, clip.end


def crop_box(clip: ListedClip, info: VideoInfo) -> tuple[int, int, int, int] | None:
    """Where in the picture the signer is looked for: the list's box and a margin, so that another person beside does
    not count. None where that is most of the picture.

    A box in pixels is of the video as it once was. WLASL's boxes reach the picture's lower edge; where one does not,
    the file has another size than the one that was boxed, and the box says nothing.
    """
    if clip.box is None:
        return None
    left, top, right, bottom = clip.box
    if not clip.box_in_pixels:
        left, top, right, bottom = left * info.width, top * info.height, right * info.width, bottom * info.height
    elif right > info.width + 1 or not 0.95 * info.height <= bottom <= info.height + 1:
        return None
    across, down = _MARGIN * (right - left), _MARGIN * (bottom - top)
    left, top = max(0, round(left - across)), max(0, round(top - down))
    right, bottom = min(info.width, round(right + across)), min(info.height, round(bottom + down))
    width, height = right - left, bottom - top
    if max(width, height) < _SMALLEST_CROP or width * height > _LARGEST_CROP * info.width * info.height:
        return None
    return left, top, right, bottom
