"""Pictures of skeletons: joints drawn on a video's frame or on a plain canvas.

Left and right are the signer's. The two colours are Okabe and Ito's blue and orange, which people with any of the
common colour-vision deficiencies tell apart. A joint with score 0 was not seen and is not drawn.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from dsta.skeleton import BODY, BONES, JOINTS

if TYPE_CHECKING:
    from dsta.keypoints import Pose
    from dsta.video import Frame

Colour = tuple[int, int, int]

LEFT: Colour = (86, 180, 233)
RIGHT: Colour = (230, 159, 0)
MIDDLE: Colour = (222, 226, 230)
BACKGROUND: Colour = (22, 28, 36)
"""RGB of the plain canvas: dark, as both side colours are bright."""

_HALO = (0, 0, 0)
_OVERSAMPLE = 2  # Pillow draws without anti-aliasing: draw larger, then shrink
_FAINTEST = 0.3  # opacity as the score nears 0; score 1 is opaque
_GAP, _GAP_COLOUR = 2, (52, 61, 72)  # pixels between the frames of a filmstrip
_MARGIN = 0.08  # of a frame of a filmstrip, on each side
_COLOURS = [{"left": LEFT, "right": RIGHT}.get(name.partition("_")[0], MIDDLE) for name in JOINTS]
"""RGB of each joint and of the bone that leads to it, by its side."""
_IN_BODY = np.isin(np.arange(len(JOINTS)), BODY)


def colour(joint: int) -> Colour:
    """RGB of a joint and of the bone that leads to it."""
    return _COLOURS[joint]


def drawable(joints: np.ndarray) -> np.ndarray:
    """(..., 27, 3) joints -> (..., 27) bool: score above 0 and a finite position."""
    return (joints[..., 2] > 0) & np.isfinite(joints[..., :2]).all(axis=-1)


def evenly_spaced(length: int, count: int) -> list[int]:
    """At most `count` different indices into `length` items, first and last included, in order."""
    return sorted({round(i) for i in np.linspace(0, length - 1, min(count, length))}) if length > 0 else []


def draw_skeleton(image: np.ndarray | None, joints: np.ndarray, size: tuple[int, int] = (512, 512)) -> np.ndarray:
    """One frame's skeleton on a copy of `image`, or on a plain canvas of `size`.

    image: (H, W, 3) uint8 RGB, or None. joints: (27, 3) x, y in that picture's pixels, y down; score in 0..1.
    size: (width, height) of the canvas where there is no image. Returns (H, W, 3) uint8 RGB.
    """
    joints = np.asarray(joints, dtype=np.float64)
    if joints.shape != (len(JOINTS), 3):
        raise ValueError(f"joints must be ({len(JOINTS)}, 3), not {joints.shape}")
    base = Image.new("RGB", size, BACKGROUND) if image is None else Image.fromarray(np.asarray(image, dtype=np.uint8))
    there, side = drawable(joints), max(base.size)
    if not there.any():
        return np.array(base)
    around = 4 + round(0.02 * side)  # half a line's width, and more
    low = np.clip(joints[there, :2].min(0) - around, 0, base.size).astype(int)
    high = np.clip(joints[there, :2].max(0) + around + 1, 0, base.size).astype(int)
    if (high <= low).any():
        return np.array(base)
    layer = Image.new("RGBA", tuple((high - low) * _OVERSAMPLE))  # where the skeleton is, and nowhere else
    _draw_layer(ImageDraw.Draw(layer), joints - [*low, 0], side)
    layer = layer.resize(tuple(high - low), Image.Resampling.BOX)
    base.paste(layer, tuple(low), mask=layer)
    return np.array(base)


def _draw_layer(pen: ImageDraw.ImageDraw, joints: np.ndarray, side: int) -> None:
    """Every bone and joint, each first in its wider dark halo; `side` (pixels) sets the width of the lines."""
    there = drawable(joints)
    # A joint far outside the picture only needs to pull its bone in the right direction.
    xy = np.clip(np.nan_to_num(joints[:, :2]), -4 * side, 4 * side) * _OVERSAMPLE
    alpha = _FAINTEST + (1 - _FAINTEST) * np.clip(np.nan_to_num(joints[:, 2]), 0, 1)
    # Fingers lie close together: thin lines. The constant part keeps small pictures readable.
    width = np.where(_IN_BODY, 0.8 + 0.008 * side, 0.6 + 0.004 * side) * _OVERSAMPLE
    halo = max(0.6, 0.002 * side) * _OVERSAMPLE
    bones = [(parent, child) for parent, child in BONES if there[parent] and there[child]]
    for extra, colours in ((halo, [_HALO] * len(JOINTS)), (0.0, _COLOURS)):
        for parent, child in bones:
            opacity = round(255 * min(alpha[parent], alpha[child]))
            line = [tuple(xy[parent]), tuple(xy[child])]
            pen.line(line, fill=(*colours[child], opacity), width=max(1, round(width[child] + 2 * extra)))
        for joint in np.flatnonzero(there):
            fill = (*colours[joint], round(255 * alpha[joint]))
            pen.circle(tuple(xy[joint]), 0.9 * width[joint] + extra, fill=fill)


def crop_to_skeleton(clip: np.ndarray, width: int, height: int) -> np.ndarray:
    """Move and scale a clip, as a whole and with its aspect kept, so that every seen joint fits width x height pixels.

    clip: (T, 27, 3). Returns a (T, 27, 3) float64 copy; one without a seen joint comes back unchanged.
    """
    clip = np.array(clip, dtype=np.float64)
    points = clip[drawable(clip)][:, :2]
    if not len(points):
        return clip
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([width, height], dtype=np.float64)
    scale = ((1 - 2 * _MARGIN) * room / np.maximum(high - low, 1e-6)).min()
    clip[..., :2] = (clip[..., :2] - (low + high) / 2) * scale + room / 2
    return clip


def filmstrip(clip: np.ndarray, columns: int = 6, rows: int = 2, cell: tuple[int, int] = (160, 180)) -> np.ndarray:
    """Evenly spaced frames of a clip, left to right and top to bottom, cropped alike to the whole clip's extent.

    clip: (T, 27, 3) x, y in any pixels, y down; score in 0..1. cell: (width, height) of one frame in pixels.
    Returns (rows * cell height, columns * cell width, 3) uint8 RGB; a clip with few frames leaves cells empty.
    """
    inner = (cell[0] - _GAP, cell[1] - _GAP)
    fitted = crop_to_skeleton(clip, *inner)
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1]), _GAP_COLOUR)
    for place, frame in enumerate(evenly_spaced(len(fitted), columns * rows)):
        picture = draw_skeleton(None, fitted[frame], inner)
        sheet.paste(Image.fromarray(picture), (place % columns * cell[0], place // columns * cell[1]))
    return np.array(sheet)


class Snapshots:
    """Scaled-down copies of a video's frames, thinned evenly: a long one takes no more memory than a short one.

    Give `add` to `video.extract` as `on_frame`: the pictures are then those in which the joints were looked for.
    kept: (number of the frame, time in seconds, (H, W, 3) uint8 RGB of at most `side` pixels), the first frame always,
    at most `most` of them, of a longer video more than half as many. seen: how many frames there were.
    """

    def __init__(self, side: int = 400, most: int = 40) -> None:
        self.side, self.most = side, most
        self.kept: list[tuple[int, float, np.ndarray]] = []
        self.seen = 0
        self._stride = 1  # every frame is kept, later every second, every fourth …

    def add(self, frame: "Frame") -> None:
        """Keeps a copy of the frame, or lets it go."""
        if self.seen % self._stride == 0:
            picture = Image.fromarray(frame.image)
            picture.thumbnail((self.side, self.side), Image.Resampling.BOX)  # keeps the aspect, and never enlarges
            self.kept.append((self.seen, frame.time, np.array(picture)))
        if len(self.kept) > self.most:
            self.kept = self.kept[::2]
            self._stride *= 2
        self.seen += 1


def overlay(snapshots: Snapshots, pose: "Pose") -> list[np.ndarray]:
    """The kept frames with the skeleton on top: (H, W, 3) uint8 RGB each.

    pose: what was made of all the frames that the snapshots were given; x, y in pixels of the full-sized video.
    """
    length = len(pose.keypoints)
    pictures = []
    for number, time, image in snapshots.kept:
        # A pose has a row for each frame, or, where the video stood still, one for each tick of its clock.
        tick = min(round((time - snapshots.kept[0][1]) * pose.fps), length - 1)
        joints = pose.keypoints[number if snapshots.seen == length else tick]
        scale = image.shape[1] / pose.width, image.shape[0] / pose.height, 1
        pictures.append(draw_skeleton(image, joints * scale))
    return pictures


def to_webp(frames: Sequence[np.ndarray], fps: float = 1.0) -> bytes:
    """(H, W, 3) uint8 frames of one size -> a WebP file: a still for one frame, else an endless animation."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    file = io.BytesIO()
    animation = {"save_all": bool(rest), "append_images": rest, "duration": 1000 / fps, "loop": 0}
    first.save(file, "WEBP", quality=70, method=1, **animation)
    return file.getvalue()
