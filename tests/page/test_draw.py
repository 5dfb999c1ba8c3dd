import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dsta.page import draw
from dsta.skeleton import BONES, INDEX, JOINTS, NUM_JOINTS
from dsta.video import Frame

SIZE = (320, 240)


def spread_joints(score: float = 1.0, right: float = 0) -> np.ndarray:
    """(27, 3): every joint at a place of its own, far from the others; all moved `right` by some pixels."""
    places = np.arange(NUM_JOINTS)
    x, y = 25 + places % 7 * 45 + right, 25 + places // 7 * 60
    return np.stack([x, y, np.full(NUM_JOINTS, score)], axis=1).astype(np.float32)


def alone(name: str, score: float = 1.0) -> np.ndarray:
    """(27, 3) of which only one joint was seen."""
    joints = spread_joints(score)
    joints[np.arange(NUM_JOINTS) != INDEX[name], 2] = 0
    return joints


def pixel(picture: np.ndarray, joint: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in picture[round(float(joint[1])), round(float(joint[0]))])


def test_each_seen_joint_has_the_colour_of_its_side():
    assert len({draw.LEFT, draw.RIGHT, draw.MIDDLE, draw.BACKGROUND}) == 4
    for name in JOINTS:
        joints, side = alone(name), name.partition("_")[0]
        colour = {"left": draw.LEFT, "right": draw.RIGHT, "nose": draw.MIDDLE}[side]
        assert pixel(draw.draw_skeleton(None, joints, SIZE), joints[INDEX[name]]) == colour


def test_a_bone_is_drawn_between_two_seen_joints_only():
    joints = spread_joints()
    parent, child = INDEX["left_shoulder"], INDEX["left_elbow"]
    assert (parent, child) in BONES
    joints[[i for i in range(NUM_JOINTS) if i not in (parent, child)], 2] = 0
    middle = joints[[parent, child]].mean(axis=0)
    assert pixel(draw.draw_skeleton(None, joints, SIZE), middle) == draw.LEFT
    joints[parent, 2] = 0
    assert pixel(draw.draw_skeleton(None, joints, SIZE), middle) == draw.BACKGROUND


def test_unseen_joints_leave_the_picture_untouched():
    image = np.random.default_rng(0).integers(0, 255, (*SIZE[::-1], 3), dtype=np.uint8)
    joints = spread_joints(score=0)
    assert np.array_equal(draw.draw_skeleton(image, joints), image)
    joints[:] = np.nan
    assert np.array_equal(draw.draw_skeleton(image, joints), image)


def test_a_less_certain_joint_is_fainter():
    def distance_from_canvas(score: float) -> int:
        joints = alone("right_wrist", score)
        colour = pixel(draw.draw_skeleton(None, joints, SIZE), joints[INDEX["right_wrist"]])
        return sum(abs(a - b) for a, b in zip(colour, draw.BACKGROUND, strict=True))

    assert 0 < distance_from_canvas(0.1) < distance_from_canvas(0.5) < distance_from_canvas(1.0)


def test_the_image_is_copied_and_the_result_repeats():
    image = np.full((*SIZE[::-1], 3), 200, dtype=np.uint8)
    first, second = (draw.draw_skeleton(image, spread_joints()) for _ in range(2))
    assert np.array_equal(first, second)
    assert (image == 200).all()
    assert first.shape == image.shape and first.dtype == np.uint8 and not np.array_equal(first, image)


def test_lines_grow_with_the_picture():
    def share(scale: int) -> float:  # of the picture's pixels that are drawn on
        joints = spread_joints() * [scale, scale, 1]
        picture = draw.draw_skeleton(None, joints, (SIZE[0] * scale, SIZE[1] * scale))
        return float((picture != np.array(draw.BACKGROUND)).any(axis=-1).mean())

    assert share(2) == pytest.approx(share(1), rel=0.25)


def test_joints_far_outside_are_no_trouble_and_a_missing_one_is_refused():
    joints = spread_joints()
    joints[INDEX["right_wrist"], :2] = 1e12, -1e12
    assert draw.draw_skeleton(None, joints, SIZE).shape == (240, 320, 3)
    with pytest.raises(ValueError, match=r"\(27, 3\)"):
        draw.draw_skeleton(None, np.zeros((26, 3)))


@pytest.mark.parametrize(
    ("length", "count", "expected"), [(0, 3, []), (1, 3, [0]), (3, 5, [0, 1, 2]), (9, 3, [0, 4, 8])]
)
def test_evenly_spaced(length, count, expected):
    assert draw.evenly_spaced(length, count) == expected


def test_crop_fits_all_seen_joints_and_keeps_the_aspect():
    clip = np.stack([spread_joints(), spread_joints(right=40)])
    clip[0, INDEX["nose"]] = 9999, 9999, 0  # not seen: must not count
    fitted = draw.crop_to_skeleton(clip, 100, 120)
    points = fitted[draw.drawable(fitted)][:, :2]
    assert points.min() >= 0 and (points.max(axis=0) <= [100, 120]).all()
    a, b = INDEX["left_shoulder"], INDEX["right_little_tip"]
    before, after = clip[1, a, :2] - clip[1, b, :2], fitted[1, a, :2] - fitted[1, b, :2]
    assert after[0] / before[0] == pytest.approx(after[1] / before[1])


def test_filmstrip():
    clip = np.stack([spread_joints()] * 30)
    strip = draw.filmstrip(clip, columns=3, rows=2, cell=(80, 90))
    assert strip.shape == (180, 240, 3) and strip.dtype == np.uint8
    assert np.array_equal(strip[:90, :80], strip[90:, 160:])  # the clip stands still
    assert {draw.LEFT, draw.RIGHT} <= {tuple(map(int, colour)) for colour in strip.reshape(-1, 3)}
    assert draw.filmstrip(clip * 0).shape == draw.filmstrip(clip[:1]).shape == (360, 960, 3)


def still_pose(rows: int, fps: float = 25.0) -> SimpleNamespace:
    keypoints = np.zeros((rows, NUM_JOINTS, 3), dtype=np.float32)
    keypoints[:, INDEX["left_wrist"]] = [[10 + 20 * row, 100, 1] for row in range(rows)]
    return SimpleNamespace(keypoints=keypoints, fps=fps, width=320, height=240)


def snapshots(times: list[float], size: tuple[int, int] = (160, 120), **limits: int) -> draw.Snapshots:
    """What is kept of black frames at these times."""
    kept = draw.Snapshots(**limits)
    for time in times:
        kept.add(Frame(time, np.zeros((*size[::-1], 3), dtype=np.uint8)))
    return kept


@pytest.mark.parametrize(("times", "rows"), [([0.0, 0.04, 0.08], [0, 1, 2]), ([0.0, 0.2], [0, 5])])
def test_overlay_scales_to_the_frames_and_follows_the_clock_where_the_video_stood_still(times, rows):
    pictures = draw.overlay(snapshots(times), still_pose(rows[-1] + 1))
    for picture, row in zip(pictures, rows, strict=True):
        assert pixel(picture, (5 + 10 * row, 50)) == draw.LEFT


def test_snapshots_are_scaled_down_copies_and_never_enlarged():
    (_, time, image), *_ = snapshots([0.5, 0.6], size=(960, 540), side=480).kept
    assert (time, image.shape, image.dtype) == (0.5, (270, 480, 3), np.uint8)
    assert snapshots([0.0], size=(160, 120)).kept[0][2].shape == (120, 160, 3)
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    kept = draw.Snapshots(side=2)
    kept.add(Frame(0.0, image))
    halves = image.reshape(2, 2, 2, 3).mean(axis=(0, 2))
    image[:] = 0  # the frame's own memory may be used again
    assert kept.kept[0][2][0] == pytest.approx(halves, abs=1)


def test_snapshots_of_a_long_video_lie_evenly_and_are_never_more():
    kept = draw.Snapshots(side=16, most=60)
    for number in range(900):
        kept.add(Frame(number / 15, np.zeros((12, 16, 3), dtype=np.uint8)))
        assert min(number + 1, 31) <= len(kept.kept) <= 60
    numbers = [number for number, _, _ in kept.kept]
    assert numbers == list(range(0, 900, 16)) and kept.seen == 900
    assert [time for _, time, _ in kept.kept] == [number / 15 for number in numbers]
    assert len(draw.overlay(kept, still_pose(900))) == len(numbers)


def test_webp_still_and_animation():
    frames = [draw.draw_skeleton(None, spread_joints(right=i), SIZE) for i in range(4)]
    still = Image.open(io.BytesIO(draw.to_webp(frames[:1])))
    assert (still.format, still.size, getattr(still, "n_frames", 1)) == ("WEBP", SIZE, 1)
    animation = Image.open(io.BytesIO(draw.to_webp(frames, fps=10)))
    assert (animation.n_frames, animation.info["loop"]) == (4, 0)
    animation.load()
    assert animation.info["duration"] == 100
