"""`Pose`: keypoints with their frame rate, picture size and estimator; its files (.npz, .pose); `Pose` → clip."""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsta.common import UserError, replace_file
from dsta.skeleton import BONES, CANVAS, INDEX, JOINTS, NUM_JOINTS

if TYPE_CHECKING:
    import pose_format

_LARGEST = 65535  # pixels: .pose stores sizes in 16 bits
POSE_SUFFIXES = (".npz", ".pose")
_MOST_FRAMES = 100_000  # more than an hour; a sign takes seconds
_MOST_UNPACKED, _MOST_POSE = 2**26, 2**28  # bytes of a .npz once unpacked, and of a .pose with hundreds of points
_FARTHEST = 1e6  # pixels; sums of what lies farther than that are no numbers any more
_COMPONENT = "dsta-slr:"  # a .pose of ours has one component of this name, followed by the estimator
_SHORTER = "give the part with the sign alone, which takes seconds."
_BAD_BYTES = (ValueError, TypeError, LookupError, EOFError, OverflowError, MemoryError, struct.error)
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, RuntimeError)  # the last of an encrypted one


@dataclass(frozen=True, eq=False)
class Pose:
    """One signer's joints through time.

    keypoints: (T, 27, 3) float32: x, y in pixels of the upright video (y down, may lie outside the picture) and
        score in 0..1; a joint not seen is (0, 0, 0). Joints in the order of `skeleton.JOINTS`.
    fps: frames per second. width, height: the video's size in pixels. estimator: what found the joints, for
        instance "mediapipe-holistic".

    Raises UserError where the numbers cannot be that.
    """

    keypoints: np.ndarray
    fps: float
    width: int
    height: int
    estimator: str

    def __post_init__(self) -> None:
        keypoints = np.array(self.keypoints, dtype=np.float32)  # a copy: the caller's array stays as it is
        if keypoints.ndim != 3 or keypoints.shape[1:] != (NUM_JOINTS, 3) or not len(keypoints):
            shape = " × ".join(map(str, keypoints.shape))
            raise UserError(
                f"Keypoints must be frames × {NUM_JOINTS} joints × 3 (x, y, score), not {shape or 'a number'}."
            )
        if not np.isfinite(keypoints).all():
            raise UserError("Keypoints hold a NaN or an infinity; write a joint that was not seen as (0, 0, 0).")
        score = keypoints[..., 2]
        if score.min() < 0 or score.max() > 1:
            low, high = score.min(), score.max()
            raise UserError(f"Keypoint scores must lie in 0..1, not in {low:.3g}..{high:.3g}; rescale them.")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise UserError(f"The frame rate must be above 0, not {self.fps}; give the video's frames per second.")
        if not (1 <= self.width <= _LARGEST and 1 <= self.height <= _LARGEST):
            raise UserError(f"The picture size must be in 1..{_LARGEST} pixels, not {self.width}×{self.height}.")
        keypoints[score == 0] = 0
        if np.abs(keypoints[..., :2]).max() > _FARTHEST:
            raise UserError(f"Keypoints lie more than {_FARTHEST:g} pixels away from the picture; extract them again.")
        fixed = {"keypoints": keypoints, "fps": float(self.fps), "width": int(self.width), "height": int(self.height)}
        for name, value in fixed.items():
            object.__setattr__(self, name, value)

    def clip(self) -> np.ndarray:
        """(T, 27, 3) float32: the keypoints on a canvas whose longest side is 512 pixels, aspect kept, no padding."""
        clip = self.keypoints.copy()
        clip[..., :2] *= CANVAS / max(self.width, self.height)
        return clip

    def save(self, path: str | Path) -> None:
        """Write `.npz` or `.pose` (pose-format 0.2), as the name ends. The file appears whole or not at all."""
        path = Path(path)
        replace_file(path, self.encoded(_ending(path)))

    def encoded(self, ending: str) -> bytes:
        """What a file of this ending, `.npz` or `.pose`, holds."""
        content = io.BytesIO()
        if ending == ".npz":
            np.savez_compressed(content, **vars(self))
        else:
            _as_pose_format(self).write(content)
        return content.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> "Pose":
        """Read `.npz` or `.pose`.

        A `.pose` may be ours or one of pose-format's MediaPipe Holistic conversion; joints are found by their names,
        and of several people the first who was seen is taken. Raises UserError for a file that holds no such keypoints.
        """
        path = Path(path)
        read = _read_npz if _ending(path) == ".npz" else _read_pose
        try:
            if path.is_file():
                values = read(path)
                if len(values["keypoints"]) > _MOST_FRAMES:
                    raise UserError(f"it holds {len(values['keypoints'])} frames; {_SHORTER}")
                return cls(**values)
        except UserError as error:
            raise UserError(f"{path.name}: {error}") from error
        except NotImplementedError as error:  # pose-format's word for it, and zipfile's for what numpy never writes
            known = "a .npz of numpy" if path.suffix.lower() == ".npz" else "version 0.2"
            raise UserError(f"{path.name} is of an unknown version of {path.suffix}; write it as {known}.") from error
        except (*_BAD_BYTES, *_BAD_ZIP) as error:
            raise UserError(f"{path.name} is damaged or no keypoint file; extract the keypoints again.") from error
        except OSError as error:
            why = error.strerror or error
            raise UserError(f"{path.name} cannot be opened ({why}); check its name and permissions.") from error
        raise UserError(f"{path.name} was not found; check the path.")


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in POSE_SUFFIXES:
        raise UserError(f"{path.name} does not end in .npz or .pose; name a keypoint file.")
    return ending


def _read_npz(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MOST_UNPACKED:
        raise UserError(f"it takes {path.stat().st_size / 2**20:.0f} MB; {_SHORTER}")
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        if not isinstance(file, np.lib.npyio.NpzFile) or file.zip is None:
            raise ValueError("a single array, not an archive")
        unpacked: int = sum(member.file_size for member in file.zip.infolist())
        if unpacked > _MOST_UNPACKED:
            raise UserError(f"it unpacks to {unpacked / 2**20:.0f} MB; {_SHORTER}")
        sizes = {name: file[name].item() for name in ("fps", "width", "height")}
        return {"keypoints": file["keypoints"], "estimator": str(file["estimator"].item()), **sizes}


# .pose: https://github.com/sign-language-processing/pose, docs/specs. One component, so that every bone, also the one
# from wrist to hand, is a limb of it; its name carries the estimator, for which the format has no field.


def _as_pose_format(pose: Pose) -> "pose_format.Pose":
    import pose_format
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeaderComponent, PoseHeaderDimensions

    sides = {"left": (0, 128, 255), "right": (255, 128, 0)}
    component = PoseHeaderComponent(
        name=_COMPONENT + pose.estimator,
        points=list(JOINTS),
        limbs=list(BONES),
        colors=[sides.get(JOINTS[child].split("_")[0], (128, 128, 128)) for _, child in BONES],
        point_format="XYC",
    )
    header = pose_format.PoseHeader(0.2, PoseHeaderDimensions(pose.width, pose.height), [component])
    person = pose.keypoints[:, None]  # the format's second axis is people
    return pose_format.Pose(header, NumPyPoseBody(pose.fps, person[..., :2], person[..., 2]))


def _read_pose(path: Path) -> dict[str, Any]:
    import pose_format

    if path.stat().st_size > _MOST_POSE:
        raise UserError(f"it takes {path.stat().st_size / 2**20:.0f} MB; {_SHORTER}")
    pose = pose_format.Pose.read(path.read_bytes())
    points, estimator = _find_joints(pose.header)
    missing = [name for name in JOINTS if name not in points]
    if missing:
        raise UserError(
            f"the file lacks {len(missing)} of the {NUM_JOINTS} joints ({', '.join(missing[:3])}, …); "
            "convert the video with MediaPipe Holistic or with this project."
        )
    if not pose.body.data.shape[1]:
        raise UserError("the file holds no person; extract the keypoints again.")
    order = [points[name] for name in JOINTS]
    scores = np.clip(pose.body.confidence[:, :, order], 0, 1)
    person = int(scores.any((0, 2)).argmax())  # places of people who were not seen may stay, empty
    score = scores[:, person]
    place = np.ma.getdata(pose.body.data)[:, person, order, :2]
    keypoints = np.where(score[..., None] > 0, np.dstack([place, score]), 0)
    size = {"width": pose.header.dimensions.width, "height": pose.header.dimensions.height}
    return {"keypoints": keypoints, "fps": pose.body.fps, "estimator": estimator, **size}


def _find_joints(header: "pose_format.PoseHeader") -> tuple[dict[str, int], str]:
    """Joint name → place on the file's point axis, and the estimator."""
    points: dict[str, int] = {}
    estimator, start = "unknown", 0
    for component in header.components:
        for place, name in enumerate(component.points, start):
            joint = name if name in INDEX else _HOLISTIC.get((component.name, name))
            if joint is not None:
                points.setdefault(joint, place)
        if component.name.startswith(_COMPONENT):
            estimator = component.name.removeprefix(_COMPONENT)
        elif component.name == "POSE_LANDMARKS":
            estimator = "mediapipe-holistic"
        start += len(component.points)
    return points, estimator


def _holistic_name(joint: str) -> tuple[str, str]:
    """A joint's (component, point) in pose-format's MediaPipe Holistic files; left is the signer's left in both."""
    side, _, part = joint.upper().partition("_")
    if part in ("", "SHOULDER", "ELBOW", "WRIST"):
        return "POSE_LANDMARKS", joint.upper()
    theirs = {"HAND_ROOT": "WRIST", "LITTLE": "PINKY", "BASE": "MCP"}
    theirs |= {finger: f"{finger}_FINGER" for finger in ("INDEX", "MIDDLE", "RING")}
    for ours, name in theirs.items():
        part = part.replace(ours, name)
    return f"{side}_HAND_LANDMARKS", part


_HOLISTIC = {_holistic_name(joint): joint for joint in JOINTS}
