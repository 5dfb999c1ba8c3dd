"""The normalised recipe: shoulder units, joints that were not seen, frames without hands; views of a clip."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.clips import LEFT, NORMALISED, RIGHT, made_clip

from dsta.skeleton import INDEX, LEFT_HAND, MIRROR, PARENTS, RIGHT_HAND
from dsta.streams import Recipe, Stream, kept_frames, mirror, prepare, resample, seen, shoulder_frame, views

SHOULDERS = Recipe(window=40, bone="direct", normalise="shoulders")


@pytest.fixture
def clip():
    return made_clip()


@pytest.mark.parametrize("stream", list(Stream))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalised_input_keeps_dtype_and_has_five_channels(clip, stream, dtype):
    made = prepare(clip.astype(dtype), stream, NORMALISED)
    assert made.dtype == dtype and made.shape == (5, 16, 27) and made.flags.c_contiguous


def test_shoulder_units_by_hand(clip):
    made, bones = (prepare(clip.astype(np.float64), stream, SHOULDERS) for stream in ("joint", "bone"))
    width = np.hypot(120, 4)
    expected = (clip[..., :2].astype(np.float64) - [256, 222]) / width
    expected[10:20, LEFT_HAND] = 0
    assert np.abs(made[:2] - expected.transpose(2, 0, 1)).max() < 1e-9
    for scores in (made[2], bones[2]):  # a bone keeps its joint's
        assert np.abs(scores - clip[..., 2]).max() < 1e-9


def limb_root(joint):
    return LEFT_HAND[0] if joint in LEFT_HAND[1:] else RIGHT_HAND[0] if joint in RIGHT_HAND[1:] else PARENTS[joint]


def test_hand_local_channels_by_hand(clip):
    clip[30, [LEFT_HAND[0], INDEX["right_wrist"]]] = 0  # seen joints of which the origin is not
    made = prepare(clip.astype(np.float64), "bone", replace(SHOULDERS, hand_local=True))
    p = (clip[..., :2].astype(np.float64) - [256, 222]) / np.hypot(120, 4)
    for t in (0, 15, 30, 39):
        for j in range(1, 27):
            for channels, origin in ((made[3:], limb_root(j)), (made[:2], PARENTS[j])):
                visible = clip[t, j, 2] > 0 and clip[t, origin, 2] > 0
                expected = p[t, j] - p[t, origin] if visible else np.zeros(2)
                assert np.abs(channels[:, t, j] - expected).max() < 1e-9
    assert np.abs(made[:2, :, 0] - p[:, 0].T).max() < 1e-9


def test_normalised_motion_needs_both_frames(clip):
    made = prepare(clip.astype(np.float64), "joint_motion", SHOULDERS)
    p = (clip[..., :2].astype(np.float64) - [256, 222]) / np.hypot(120, 4)
    assert not made[:2, 9:20, LEFT_HAND].any() and not made[:2, -1].any()
    assert np.abs(made[:2, 20, LEFT_HAND].T - (p[21] - p[20])[LEFT_HAND]).max() < 1e-9
    assert np.abs(made[:2, 8, LEFT_HAND].T - (p[9] - p[8])[LEFT_HAND]).max() < 1e-9


@pytest.mark.parametrize("stream", list(Stream))
def test_a_joint_that_is_never_seen_is_zero_everywhere(clip, stream):
    clip[:, INDEX["left_elbow"]] = 0
    clip[:, RIGHT_HAND, 2] = 0  # positions left behind: the score alone decides
    made = prepare(clip, stream, NORMALISED)
    assert not made[:, :, INDEX["left_elbow"]].any() and not made[:, :, RIGHT_HAND].any()
    assert made[:, :, INDEX["right_elbow"]].any()


@pytest.mark.parametrize("stream", list(Stream))
def test_place_and_size_of_the_person_do_not_matter(clip, stream):
    moved = clip.astype(np.float64)
    moved[..., :2] = np.where(seen(clip)[..., None], moved[..., :2] * 0.6 + [55, -30], 0)
    made, again = (prepare(c, stream, NORMALISED) for c in (clip.astype(np.float64), moved))
    assert np.abs(made - again).max() < 1e-9
    assert np.abs(made).max() > 0.1


@pytest.mark.parametrize("stream", list(Stream))
def test_a_mirrored_clip_gives_mirrored_input(clip, stream):
    clip = clip.astype(np.float64)
    straight, mirrored = prepare(clip, stream, NORMALISED), prepare(mirror(clip), stream, NORMALISED)
    sign = np.array([-1, 1, 1, -1, 1])[:, None, None]
    assert np.abs(mirrored - sign * straight[..., MIRROR]).max() < 1e-9


def test_mirror_swaps_sides_and_leaves_the_unseen_at_zero(clip):
    mirrored = mirror(clip)
    assert not mirrored[10:20, RIGHT_HAND].any() and seen(mirrored)[10:20, LEFT_HAND].all()
    assert mirrored[0, LEFT, 0] == 512 - clip[0, RIGHT, 0] and mirrored[0, LEFT, 1] == clip[0, RIGHT, 1]
    assert np.abs(mirror(mirrored) - clip).max() < 1e-4


def test_frames_without_hands_are_dropped(clip):
    clip[:5, RIGHT_HAND], clip[:5, LEFT_HAND], clip[10:20, RIGHT_HAND] = 0, 0, 0
    assert kept_frames(clip, NORMALISED).tolist() == [*range(5, 10), *range(20, 40)]
    assert kept_frames(clip, Recipe()).tolist() == list(range(40))
    made, cut = prepare(clip, "joint", NORMALISED), prepare(clip[[*range(5, 10), *range(20, 40)]], "joint", NORMALISED)
    assert np.array_equal(made, cut)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(window=1), NORMALISED, Recipe(9, "direct", "shoulders")])
@pytest.mark.parametrize("stream", list(Stream))
@pytest.mark.parametrize("lost", [[], LEFT_HAND + RIGHT_HAND, [LEFT, RIGHT], list(range(27))])
@pytest.mark.parametrize("length", [1, 7])
def test_poor_clips_give_finite_input(clip, recipe, stream, lost, length):
    clip = clip[:length]
    clip[:, lost] = 0
    made = prepare(clip, stream, recipe)
    assert made.shape == (recipe.channels, recipe.window, 27) and np.isfinite(made).all()


@pytest.mark.parametrize("lost", [[], [30], [8, 9, 10, 11, 25]])
def test_bones_of_a_still_clip_do_not_move_when_a_parent_is_lost_and_found(clip, lost):
    clip[:] = clip[:1]
    clip[lost, INDEX["left_wrist"]] = 0
    recipe = replace(NORMALISED, hand_local=False, window=40)
    assert not prepare(clip, "bone_motion", recipe)[:2].any() and not prepare(clip, "joint_motion", recipe)[:2].any()


def test_shoulder_frame_without_shoulders_is_the_middle_of_what_was_seen(clip):
    clip[:, [LEFT, RIGHT]] = 0
    origin, width = shoulder_frame(clip)
    assert np.abs(origin - clip[seen(clip)][:, :2].mean(0)).max() < 1e-2 and width == 128


def test_shoulder_width_is_the_median_and_never_tiny(clip):
    clip[:3, LEFT, 0] += 300  # outliers
    assert shoulder_frame(clip)[1] == pytest.approx(np.hypot(120, 4), rel=1e-5)
    clip[:, LEFT, :2] = clip[:, RIGHT, :2]
    assert shoulder_frame(clip)[1] == pytest.approx(0.04 * 512)


def test_resample_interpolates_only_between_seen_joints(clip):
    middle = resample(clip.astype(np.float64), np.array([8.25, 9.25, 9.75, 39.0]))
    hand, nose = LEFT_HAND[0], 0
    assert np.abs(middle[0, hand] - (0.75 * clip[8, hand] + 0.25 * clip[9, hand])).max() < 1e-4
    assert np.array_equal(middle[1, hand], clip[9, hand].astype(float)) and not middle[2, hand].any()
    assert np.abs(middle[1, nose] - (0.75 * clip[9, nose] + 0.25 * clip[10, nose])).max() < 1e-4
    assert np.array_equal(middle[3], clip[39].astype(float))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_views(clip, count):
    made = views(clip, Recipe(views=count))
    expected = [clip, mirror(clip), clip[2:38], mirror(clip)[2:38]][:count]
    assert len(made) == count
    assert all(np.array_equal(a, b) for a, b in zip(made, expected, strict=True))
    assert [len(view) for view in views(clip[:1], Recipe(views=count))] == [1] * count
