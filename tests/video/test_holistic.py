"""The joints of a person are found in the right places, where MediaPipe finds them, offline and silently."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from helpers.media import numbered, write_video
from helpers.mediapipe_truth import mediapipe_joints

from dsta.common import UserError
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.video import ESTIMATOR, Frame, extract, read_frames
from dsta.video import models as models_module
from dsta.video.holistic import _AHEAD, _evenly, extract_frames

ROOT = Path(__file__).parents[2]
CLIPS = ROOT.parent / "shared" / "data" / "wlasl_clips"
pytestmark = pytest.mark.slow

STEP = 6  # pixels the astronaut moves each frame
FRAMES = 12


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory) -> Path:
    """A woman facing the camera, 512 × 512, panned to the right in a picture of 640 × 512."""
    picture = pytest.importorskip("skimage.data", reason="scikit-image has the test picture").astronaut()
    images = np.zeros((FRAMES, 512, 640, 3), np.uint8)
    for i, image in enumerate(images):
        image[:, STEP * i : STEP * i + 512] = picture
    return write_video(tmp_path_factory.mktemp("pose") / "astronaut.mp4", images)


@pytest.fixture(scope="module")
def reports() -> list[tuple[str, float]]:
    return []


@pytest.fixture(scope="module")
def found(astronaut, reports):
    return extract(astronaut, progress=lambda step, fraction: reports.append((step, fraction)))


def joint(pose, name: str) -> np.ndarray:
    return pose.keypoints[:, INDEX[name]]


def test_a_pose_says_what_it_is(found):
    assert found.keypoints.shape == (FRAMES, 27, 3)
    assert (found.fps, found.width, found.height, found.estimator) == (25.0, 640, 512, ESTIMATOR)


def test_the_body_is_where_it_is_in_the_picture(found):
    # Eyeballed in skimage's picture: the nose at (220, 120), her left shoulder right of it, the right one left.
    assert joint(found, "nose")[0, :2] == pytest.approx([222, 115], abs=30)
    for name in ("nose", "left_shoulder", "right_shoulder"):
        assert (joint(found, name)[:, 2] > 0.9).all(), name
    assert (joint(found, "nose")[:, 1] < joint(found, "left_shoulder")[:, 1] - 30).all()
    assert (joint(found, "nose")[:, 1] < joint(found, "right_shoulder")[:, 1] - 30).all()
    assert (joint(found, "left_shoulder")[:, 0] > joint(found, "right_shoulder")[:, 0] + 100).all()


def test_a_person_who_moves_is_followed(found):
    """As a whole to a quarter of her pace. One joint alone strays further on some processors: right_shoulder had 4.3
    pixels a frame on one without AVX-512, where MediaPipe computes with other kernels."""
    nose, left, right = (joint(found, name)[:, 0] for name in ("nose", "left_shoulder", "right_shoulder"))
    frames = np.arange(FRAMES)
    for x in (nose, (left + right) / 2):
        assert np.polyfit(frames, x, 1)[0] == pytest.approx(STEP, abs=STEP / 4)
    for x in (nose, left, right):
        assert STEP / 2 < np.polyfit(frames, x, 1)[0] < 1.5 * STEP
    assert np.ptp(joint(found, "nose")[:, 1]) < 15


def test_progress_rises_to_one(found, reports):
    fractions = [fraction for _, fraction in reports]
    assert len(fractions) >= FRAMES
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert all(isinstance(step, str) and step for step, _ in reports)


def test_scaled_down_frames_give_pixels_of_the_video(astronaut, found):
    small = extract_frames(read_frames(astronaut, max_side=320), 640, 512)
    difference = np.abs(small.keypoints[:, :3, :2] - found.keypoints[:, :3, :2])
    assert np.median(difference) < 5


def test_of_two_people_the_one_in_the_box_is_found(astronaut, tmp_path):
    picture = next(iter(read_frames(astronaut))).image[:, :512]
    pair = np.concatenate([picture, picture[:, ::-1]], axis=1)  # 1024 × 512, facing each other
    path = write_video(tmp_path / "two.mp4", [pair] * 6)
    for left in (0, 512):
        pose = extract(path, box=(left, 0, left + 512, 512))
        assert (pose.width, pose.height) == (1024, 512)
        x = joint(pose, "nose")[:, 0]
        assert ((x > left + 100) & (x < left + 412)).all()
        assert joint(pose, "nose")[:, 1] == pytest.approx(115, abs=40)
        assert (pose.keypoints[pose.keypoints[..., 2] == 0] == 0).all()  # what was not seen stays at nought


def test_a_part_of_a_video_gives_its_frames(astronaut, found):
    part = extract(astronaut, start=4 / 25, end=10 / 25)
    assert len(part.keypoints) == 6
    assert joint(part, "nose")[:, :2] == pytest.approx(joint(found, "nose")[4:10, :2], abs=12)


def apart(found, truth) -> np.ndarray:
    """How far joints that both see well lie apart, in widths of the shoulders."""
    left, right = (truth[:, INDEX[f"{side}_shoulder"], :2] for side in ("left", "right"))
    both = (found[..., 2] > 0.5) & (truth[..., 2] > 0.5)
    away = np.linalg.norm(found[..., :2] - truth[..., :2], axis=-1)[both]
    return away / np.median(np.linalg.norm(left - right, axis=1))


def test_a_person_is_where_mediapipe_finds_her(astronaut, found):
    """She leaves the picture for three frames and comes back, at times that are uneven."""
    frames = list(read_frames(astronaut))
    frames = [*frames[:4], *(Frame(f.time, np.zeros_like(f.image)) for f in frames[4:7]), *frames[7:]]
    truth = mediapipe_joints(frames, 640, 512)
    ours = extract_frames(frames, 640, 512).keypoints
    assert ((ours[..., 2] > 0) == (truth[..., 2] > 0)).all()
    assert (ours[4:7] == 0).all() and (ours[7:, INDEX["nose"], 2] > 0).all()
    assert np.median(apart(ours, truth)) < 0.003
    assert apart(ours[7:9], truth[7:9]).max() < 0.003  # new beginnings are the same; later, hidden joints lead astray
    assert np.abs(ours[:9, :, 2] - truth[:9, :, 2]).max() < 0.01


@pytest.mark.parametrize("kind", ["enters late", "leaves early", "beside another", "stands still"])
def test_odd_videos_show_what_mediapipe_finds(astronaut, kind):
    pictures = [frame.image for frame in read_frames(astronaut)][:8]
    empty = [np.zeros_like(pictures[0])] * 3
    made = {
        "enters late": empty + pictures[3:],
        "leaves early": pictures[:5] + empty,
        "beside another": [np.hstack([picture, picture[:, ::-1]]) for picture in pictures],
        "stands still": pictures[:1] * 8,
    }[kind]
    frames = [Frame(i / 15, np.ascontiguousarray(picture)) for i, picture in enumerate(made)]
    height, width = made[0].shape[:2]
    truth, ours = mediapipe_joints(frames, width, height), extract_frames(frames, width, height, fps=15).keypoints
    assert ((ours[..., 2] > 0) == (truth[..., 2] > 0)).mean() > 0.98 and (truth[..., 2] > 0).any()
    assert np.median(apart(ours, truth)) < 0.01  # another person, or another place, would be 0.5 and more away


@pytest.mark.parametrize(("name", "fps"), [("01377.mp4", 25), ("69300.mp4", 15)])
def test_a_signer_is_where_mediapipe_finds_him(name, fps):
    path = CLIPS / name
    if not path.is_file():
        pytest.skip("no ../shared/data/wlasl_clips here")
    frames = list(islice(read_frames(path, fps=fps, max_side=480), 15))
    height, width = frames[0].image.shape[:2]
    truth = mediapipe_joints(frames, width, height)
    ours = extract_frames(frames, width, height, fps=fps).keypoints
    hands = [INDEX["left_hand_root"], INDEX["right_hand_root"]]
    assert (truth[:, hands, 2] > 0).any()
    assert ((ours[:, hands, 2] > 0) == (truth[:, hands, 2] > 0)).mean() > 0.9
    assert np.median(apart(ours, truth)) < 0.005
    assert np.percentile(apart(ours, truth), 90) < 0.02


def test_one_thread_finds_what_several_find(astronaut, found):
    assert (extract(astronaut, threads=1).keypoints == extract(astronaut, threads=2).keypoints).all()


def test_videos_at_once_do_not_disturb_each_other(astronaut, found):
    with ThreadPoolExecutor(3) as threads:
        for pose in threads.map(extract, [astronaut] * 3):
            assert (pose.keypoints == found.keypoints).all()


def test_a_video_leaves_nothing_behind_for_the_next(astronaut, found):
    picture = next(iter(read_frames(astronaut))).image
    with models_module.lent_models() as models:  # no other thread's: the set that the next video gets
        pass
    extract_frames([Frame(i / 25, np.ascontiguousarray(picture[:, ::-1])) for i in range(3)], 640, 512)
    assert (extract(astronaut).keypoints == found.keypoints).all()
    with models_module.lent_models() as again:
        assert again is models


@pytest.mark.parametrize("threads", [1, 2])
def test_each_frame_is_told_in_order_and_what_that_raises_ends_the_work_at_once(astronaut, threads):
    read, told, before = [], [], threading.active_count()

    def frames():
        for frame in read_frames(astronaut):
            read.append(frame.time)
            yield frame

    def enough(frame):
        told.append(frame.time)
        if len(told) == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        extract_frames(frames(), 640, 512, on_frame=enough, threads=threads)
    ahead = 1 if threads == 1 else _AHEAD + 2
    assert told == read[:3] and len(read) <= 3 + ahead
    assert threading.active_count() == before


def test_no_room_for_a_thread_or_for_the_models_is_told_as_want_of_memory(astronaut, monkeypatch):
    def no_room(*given, **named):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_room)
        with pytest.raises(MemoryError):
            extract(astronaut, threads=2)
    monkeypatch.setattr(models_module, "_kept", [])
    monkeypatch.setattr(models_module, "Model", no_room)
    with pytest.raises(MemoryError):
        extract(astronaut)


@pytest.mark.parametrize("name", ["01377.mp4", "69300.mp4"])
def test_hands_belong_to_their_own_wrists(name):
    path = CLIPS / name
    if not path.is_file():
        pytest.skip("no ../shared/data/wlasl_clips here")
    pose = extract(path)
    width = np.linalg.norm(joint(pose, "left_shoulder")[:, :2] - joint(pose, "right_shoulder")[:, :2], axis=1)
    assert (joint(pose, "left_shoulder")[:, 0] > joint(pose, "right_shoulder")[:, 0]).all(), "signers face the camera"
    seen = 0
    for side, hand in (("left", LEFT_HAND), ("right", RIGHT_HAND)):
        score = pose.keypoints[:, hand, 2]
        assert set(np.unique(score)) <= {0.0, 1.0}
        assert (np.ptp(score, axis=1) == 0).all(), "a hand is seen as a whole"
        frames = score[:, 0] > 0
        away = np.linalg.norm(joint(pose, f"{side}_hand_root") - joint(pose, f"{side}_wrist"), axis=1)[frames]
        assert not frames.any() or np.median(away / width[frames]) < 0.35, side
        seen += frames.sum()
    assert seen >= 5


def test_nobody_in_the_picture(tmp_path):
    path = write_video(tmp_path / "grey.mp4", numbered(3, 160, 120))
    with pytest.raises(UserError, match=r"^No person was found in grey\.mp4; film .*\.$"):
        extract(path)


def test_one_frame_is_too_few_and_a_changed_or_missing_model_is_refused(tmp_path, monkeypatch):
    data = bytearray(models_module.BUNDLE.read_bytes())
    data[len(data) // 2] ^= 1
    changed = tmp_path / "holistic_landmarker.task"
    changed.write_bytes(data)
    frames = [Frame(i / 25, np.zeros((64, 64, 3), np.uint8)) for i in range(2)]
    with pytest.raises(UserError, match="several frames"):
        extract_frames(frames[:1], 64, 64)
    monkeypatch.setattr(models_module, "_kept", [])
    monkeypatch.setattr(models_module, "BUNDLE", changed)
    with pytest.raises(UserError, match="is damaged"):
        extract_frames(frames, 64, 64)
    changed.unlink()
    with pytest.raises(UserError, match="is missing"):
        extract_frames(frames, 64, 64)


_ALONE = """
import sys
def no_network(event, args):
    assert event not in ("socket.connect", "socket.getaddrinfo"), (event, args)
sys.addaudithook(no_network)
from dsta.video import extract
extract(sys.argv[1])
if sys.platform == "linux":  # not getrusage, whose peak a child inherits from pytest
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_alone_it_is_silent_small_and_offline(astronaut):
    command = [sys.executable, "-c", _ALONE, str(astronaut)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert (done.stderr, done.returncode) == (b"", 0)
    if done.stdout:  # kilobytes
        assert int(done.stdout) < 450_000


# The even time axis.


def _ramp(times) -> np.ndarray:
    """Keypoints whose x is the frame's number."""
    return np.arange(len(times))[:, None, None] * np.ones((1, 27, 3))


def test_a_hole_is_filled_with_what_was_shown():
    times = np.array([0, 0.04, 0.08, 0.24, 0.28])
    even, rate = _evenly(_ramp(times), times, 25.0)
    assert rate == pytest.approx(25)
    assert even[:, 0, 0].tolist() == [0, 1, 2, 2, 2, 2, 3, 4]


@pytest.mark.parametrize(("source", "expected"), [(25, 25), (30, 25), (24, 24), (15, 15), (12.5, 12.5)])
def test_the_rate_is_the_slower_of_both(source, expected):
    times = np.arange(40) / source
    if source > 25:  # as read_frames thins it
        times = times[np.unique(np.floor((np.arange(33) + 0.5) / 25 * source + 1e-9).astype(int))]
    even, rate = _evenly(_ramp(times), times, 25.0)
    assert rate == pytest.approx(expected, rel=1e-6)
    assert len(even) == len(times)
