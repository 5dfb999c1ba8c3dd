"""`Pose`: what it accepts, its clip, and its files."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pose_format import Pose as PoseFile
from pose_format import PoseHeader
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeaderComponent, PoseHeaderDimensions

from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.skeleton import INDEX, JOINTS, LEFT_HAND


def make_keypoints(frames: int = 7) -> np.ndarray:
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0.01, 1, (frames, 27, 3)).astype(np.float32)
    keypoints[..., 0] *= 1920
    keypoints[..., 1] *= 1080
    keypoints[2, LEFT_HAND] = 0
    return keypoints


def make_pose(**changes) -> Pose:
    fields = {"keypoints": make_keypoints(), "fps": 23.976, "width": 1920, "height": 1080, "estimator": "mediapipe-x"}
    return Pose(**(fields | changes))


def _with(place, value):
    keypoints = make_keypoints()
    keypoints[place] = value
    return {"keypoints": keypoints}


def test_a_clip_lies_on_a_canvas_of_512():
    pose = make_pose()
    clip = pose.clip()
    assert clip.shape == (7, 27, 3) and clip.dtype == np.float32
    assert np.allclose(clip[..., :2], pose.keypoints[..., :2] * 512 / 1920)
    assert np.array_equal(clip[..., 2], pose.keypoints[..., 2])
    assert not clip[2, LEFT_HAND].any()
    assert np.allclose(make_pose(width=720, height=1280).clip()[..., :2], pose.keypoints[..., :2] * 512 / 1280)


def test_a_clip_is_a_copy_and_so_are_the_keypoints():
    given = make_keypoints()
    pose = make_pose(keypoints=given)
    given[:] = 0
    pose.clip()[:] = 0
    assert pose.keypoints[0].any()


def test_a_joint_without_score_lies_at_the_origin():
    assert not make_pose(**_with((1, 3), (50, 60, 0))).keypoints[1, 3].any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"keypoints": np.zeros((4, 133, 3))}, "4 × 133 × 3"),
        ({"keypoints": np.zeros((4, 27, 2))}, "4 × 27 × 2"),
        ({"keypoints": np.zeros((0, 27, 3))}, "0 × 27 × 3"),
        (_with((0, 0, 0), np.nan), "NaN"),
        (_with((0, 0, 1), np.inf), "infinity"),
        (_with((0, 0, 2), 1.5), "0..1"),
        (_with((0, 0, 2), -0.1), "0..1"),
        ({"fps": 0.0}, "frame rate"),
        ({"fps": float("nan")}, "frame rate"),
        ({"width": 0}, "size"),
        ({"height": -3}, "size"),
        ({"width": 70_000}, "size"),
        ({"width": 0.5}, "size"),
        ({"height": 0.99}, "size"),
        ({"height": float("nan")}, "size"),
    ],
)
def test_impossible_numbers_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        make_pose(**changes)


@pytest.mark.parametrize("ending", ["npz", "pose", "POSE"])
def test_files_keep_everything(tmp_path, ending):
    pose, path = make_pose(), tmp_path / f"a.{ending}"
    pose.save(path)
    loaded = Pose.load(path)
    assert np.array_equal(loaded.keypoints, pose.keypoints)
    assert loaded.keypoints.dtype == np.float32
    assert loaded.fps == pytest.approx(pose.fps, rel=1e-6)
    assert (loaded.width, loaded.height, loaded.estimator) == (1920, 1080, "mediapipe-x")
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "a temporary file was left"


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    make_pose().save(path)
    before, write = path.read_bytes(), Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda file, content: (write(file, content[: len(content) // 2]), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        make_pose(fps=30.0).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_pose_format_reads_what_is_written(tmp_path):
    pose = make_pose()
    pose.save(tmp_path / "a.pose")
    file = PoseFile.read((tmp_path / "a.pose").read_bytes())
    (component,) = file.header.components
    assert component.points == list(JOINTS)
    limbs = {(component.points[a], component.points[b]) for a, b in component.limbs}
    assert len(limbs) == 26
    assert {("left_wrist", "left_hand_root"), ("right_index_base", "right_index_tip")} <= limbs
    assert file.body.data.mask[2, 0, INDEX["left_thumb_tip"]].all()
    assert np.array_equal(file.body.data[0, 0].data, pose.keypoints[0, :, :2])


# MediaPipe's names as pose-format writes them (its `utils/holistic.py` takes them from mediapipe's enums).
_SIDES = ("LEFT", "RIGHT")
_BODY_POINTS = [
    "NOSE",
    *(f"{s}_EYE{e}" for s in _SIDES for e in ("_INNER", "", "_OUTER")),
    *(f"{s}_EAR" for s in _SIDES),
    *(f"MOUTH_{s}" for s in _SIDES),
    *(f"{s}_{p}" for p in ("SHOULDER", "ELBOW", "WRIST", "PINKY", "INDEX", "THUMB") for s in _SIDES),
    *(f"{s}_{p}" for p in ("HIP", "KNEE", "ANKLE", "HEEL", "FOOT_INDEX") for s in _SIDES),
]
_HAND_POINTS = ["WRIST", *(f"THUMB_{p}" for p in ("CMC", "MCP", "IP", "TIP"))]
_FINGERS = ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
_HAND_POINTS += [f"{finger}_{part}" for finger in _FINGERS for part in ("MCP", "PIP", "DIP", "TIP")]


def write_holistic(path, people=1, without=()):
    """A file laid out as pose-format's Holistic conversion; point i has x = i, y = 2·i, confidence 0.5."""
    parts = {"POSE_LANDMARKS": _BODY_POINTS, "FACE_LANDMARKS": [str(i) for i in range(468)]}
    parts |= {f"{side}_HAND_LANDMARKS": _HAND_POINTS for side in _SIDES} | {"POSE_WORLD_LANDMARKS": _BODY_POINTS}
    components = [
        PoseHeaderComponent(name, list(points), [], [(255, 0, 0)], "XYZC")
        for name, points in parts.items()
        if name not in without
    ]
    count = sum(len(component.points) for component in components)
    data = np.arange(count)[:, None] * np.array([1.0, 2.0, 3.0]) * np.ones((3, people, 1, 1))
    confidence = np.full((3, people, count), 0.5)
    confidence[1, :, 33 + 468 : 33 + 468 + 21] = 0  # the left hand is unseen in the second frame
    header = PoseHeader(0.2, PoseHeaderDimensions(640, 480, 0), components)
    with path.open("wb") as file:
        PoseFile(header, NumPyPoseBody(30.0, data, confidence)).write(file)
    return path


def test_pose_formats_holistic_files_are_mapped_by_name(tmp_path):
    pose = Pose.load(write_holistic(tmp_path / "a.pose"))
    assert (pose.fps, pose.width, pose.height, pose.estimator) == (30.0, 640, 480, "mediapipe-holistic")
    left, right = 33 + 468, 33 + 468 + 21
    expected = {"nose": 0, "left_shoulder": 11, "right_shoulder": 12, "left_elbow": 13, "right_wrist": 16}
    expected |= {"left_hand_root": left, "left_thumb_tip": left + 4, "left_index_base": left + 5}
    expected |= {"left_index_tip": left + 8, "right_middle_base": right + 9, "right_ring_tip": right + 16}
    expected |= {"right_little_base": right + 17, "right_little_tip": right + 20}
    for joint, point in expected.items():
        assert pose.keypoints[0, INDEX[joint]].tolist() == [point, 2 * point, 0.5], joint
    assert not pose.keypoints[1, LEFT_HAND].any()
    assert pose.keypoints[1, INDEX["right_hand_root"]].any()


def test_the_first_person_who_was_seen_is_taken(tmp_path):
    path = write_holistic(tmp_path / "a.pose", people=3)
    file = PoseFile.read(path.read_bytes())
    file.body.confidence[:, 0] = 0
    file.body.data[:, 1] += 100
    with path.open("wb") as out:
        file.write(out)
    assert Pose.load(path).keypoints[0, INDEX["nose"]].tolist() == [100, 100, 0.5]


@pytest.mark.parametrize("version", [0.7, -1.0, float("inf")])
def test_a_pose_of_an_unknown_version_is_a_sentence(tmp_path, version):
    path = tmp_path / "a.pose"
    make_pose().save(path)
    path.write_bytes(struct.pack("<f", version) + path.read_bytes()[4:])
    with pytest.raises(UserError, match=r"a\.pose is (of an unknown version|damaged)"):
        Pose.load(path)


@pytest.mark.parametrize("ending", ["npz", "pose"])
@pytest.mark.parametrize("content", ["empty", "text", "random", "cut"])
def test_bad_files_are_refused_in_one_sentence(tmp_path, ending, content):
    path = tmp_path / f"a.{ending}"
    make_pose().save(path)
    contents = {"empty": b"", "text": b"hello, no keypoints here\n" * 20, "cut": path.read_bytes()[:1500]}
    contents["random"] = bytes(np.random.default_rng(2).integers(0, 255, 5000, np.uint8))
    path.write_bytes(contents[content])
    with pytest.raises(UserError, match=rf"^a\.{ending} .*extract the keypoints again\.$"):
        Pose.load(path)


def test_more_bad_files(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.npz was not found"):
        Pose.load(tmp_path / "nowhere.npz")
    with pytest.raises(UserError, match=r"\.npz or \.pose"):
        Pose.load(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"\.npz or \.pose"):
        make_pose().save(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"lacks 10 of the 27 joints \(right_hand_root"):
        Pose.load(write_holistic(tmp_path / "a.pose", without=["RIGHT_HAND_LANDMARKS"]))
    with pytest.raises(UserError, match="no person"):
        Pose.load(write_holistic(tmp_path / "b.pose", people=0))
    others = {"fps": 1, "width": 1, "height": 1, "estimator": "x"}
    for fields in ({"keypoints": np.zeros((2, 27, 3))}, {"keypoints": np.array([{}]), **others}):
        np.savez(tmp_path / "c.npz", **fields)
        with pytest.raises(UserError, match=r"c\.npz"):
            Pose.load(tmp_path / "c.npz")


@pytest.mark.parametrize("ending", ["npz", "pose"])
def test_a_file_that_cannot_be_opened_is_one_sentence(tmp_path, ending, monkeypatch):
    with pytest.raises(UserError, match=r"cannot be opened \(File name too long\); check its name"):
        Pose.load(tmp_path / f"{'x' * 300}.{ending}")
    make_pose().save(tmp_path / f"a.{ending}")

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)  # the tests may run as root, who may read anything
    with pytest.raises(UserError, match=rf"^a\.{ending} cannot be opened \(Permission denied\); .*permissions\.$"):
        Pose.load(tmp_path / f"a.{ending}")


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"keypoints": np.zeros((250_000, 27, 3), np.float32)}, "unpacks to 77 MB"),
        ({"keypoints": np.zeros((100_001, 27, 3), bool)}, "holds 100001 frames"),
        ({"keypoints": np.zeros((2, 27, 3)), "more": np.zeros(10**7)}, "unpacks to 76 MB"),
        ({"keypoints": np.full((2, 27, 3), (1e30, 0, 1))}, "more than 1e\\+06 pixels away"),
    ],
)
def test_a_file_that_unpacks_to_more_than_a_sign_is_refused(tmp_path, arrays, sentence):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, fps=15.0, width=640, height=480, estimator="mediapipe-holistic", **arrays)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(UserError, match=rf"^a\.npz: .*{sentence}.*\.$"):
        Pose.load(path)


def test_an_array_whose_head_lies_is_refused(tmp_path):
    """Its head claims a terabyte, of which nothing follows."""
    path = tmp_path / "a.npz"
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (10**10, 27, 3)})
    small = {name: np.array(value) for name, value in (("fps", 15.0), ("width", 640), ("height", 480))}
    np.savez(path, estimator="e", **small)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("keypoints.npy", head.getvalue())
    with pytest.raises(UserError, match=r"a\.npz is damaged or no keypoint file"):
        Pose.load(path)


def test_an_archive_packed_otherwise_or_a_large_file_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("fps.npy", b"")
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data.replace(b"PK\1\2\x14\x03\x14\0\0\0\0\0", b"PK\1\2\x14\x03\x14\0\0\0\x63\0"))
    with pytest.raises(UserError, match=r"unknown version of \.npz; write it as a \.npz of numpy"):
        Pose.load(tmp_path / "a.npz")
    for name, size in (("b.npz", 2**26), ("b.pose", 2**28)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size + 1)  # which takes no room
        with pytest.raises(UserError, match=rf"{name}: it takes {size >> 20} MB; give the part with the sign alone"):
            Pose.load(tmp_path / name)
