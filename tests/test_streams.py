"""From a clip to network input: against the reference's numbers, and against the specification's formulas by hand."""

import random

import numpy as np
import pytest
from helpers.clips import NORMALISED, made_clip
from helpers.oracle import arrays, needs_oracle

from dsta.common import UserError
from dsta.skeleton import LEFT_HAND, PARENTS, RIGHT_HAND
from dsta.streams import Recipe, Stream, prepare, sample_positions


@pytest.fixture
def clip():
    return made_clip()


def as_clip(array):
    """(3, T, 27, 1) as upstream stores it -> (T, 27, 3)."""
    return array[..., 0].transpose(1, 2, 0)


# --- the reference's numbers


@needs_oracle
@pytest.mark.parametrize("stream", list(Stream))
@pytest.mark.parametrize("length", [64, 120, 157, 300])
def test_evaluation_input_is_the_references(stream, length):
    feeder = arrays("feeder")
    for given, expected in zip(feeder[f"in_T{length}"], feeder[f"out_{stream}_T{length}"], strict=True):
        made = prepare(as_clip(given), stream, Recipe())
        assert made.dtype == np.float32 and made.shape == (3, 120, 27)
        assert np.abs(made - expected[..., 0]).max() < 2e-4


@needs_oracle
@pytest.mark.parametrize("stream", list(Stream))
def test_float64_and_another_window_are_the_references(stream):
    feeder = arrays("feeder")
    made = prepare(as_clip(feeder["in_f64_T131"][0]), stream, Recipe(window=100))
    assert made.dtype == np.float64
    assert np.abs(made - feeder[f"out_f64w100_{stream}_T131"][0, ..., 0]).max() < 1e-9


@needs_oracle
@pytest.mark.parametrize("stream", list(Stream))
@pytest.mark.parametrize("seed", range(4))
def test_training_draws_are_the_references(stream, seed):
    feeder = arrays("feeder")
    made = prepare(as_clip(feeder["in_T157"][0]), stream, Recipe(), random.Random(seed))
    assert np.abs(made - feeder[f"train_{stream}_seed{seed}"][..., 0]).max() < 2e-4


# --- the specification's formulas


def as_is(clip, stream, **recipe):
    """Network input of as many frames as the clip has, back as (T, 27, 3)."""
    return prepare(clip, stream, Recipe(window=len(clip), **recipe)).transpose(1, 2, 0)


def centred(frames):
    frames = frames.copy()
    frames[..., :2] -= frames[:, 0, :2].mean(0)
    return frames


def chained_bones(p):
    """Section 3, step 2: what upstream's writing in place amounts to, in raw positions."""
    b = p - p[:, PARENTS]
    b[:, 0] = p[:, 0]
    for side in (0, 1):
        shoulder, elbow, wrist, root = 1 + side, 3 + side, 5 + side, 7 + 10 * side
        b[:, elbow] = p[:, elbow] - p[:, shoulder] + p[:, 0]
        b[:, wrist] = p[:, wrist] - p[:, elbow] + p[:, shoulder] - p[:, 0]
        b[:, root] = p[:, root] - p[:, wrist] + p[:, elbow] - p[:, shoulder] + p[:, 0]
        for tip in (3, 5, 7, 9):
            b[:, root + tip] = p[:, root + tip] - p[:, root + tip - 1] + p[:, root]
    return b


def test_chained_bones_are_the_formulas(clip):
    p = clip.astype(np.float64)
    assert np.abs(as_is(p, "bone") - centred(chained_bones(p))).max() < 1e-9


def test_direct_bones_differ_from_chained_in_14_joints(clip):
    p = clip.astype(np.float64)
    direct, chained = as_is(p, "bone", bone="direct"), as_is(p, "bone")
    expected = p - p[:, PARENTS]
    expected[:, 0] = p[:, 0]
    assert np.abs(direct - centred(expected)).max() < 1e-9
    differ = np.flatnonzero(np.abs(direct - chained).max((0, 2)) > 1e-6)
    assert differ.tolist() == [3, 4, 5, 6, 7, 10, 12, 14, 16, 17, 20, 22, 24, 26]


@pytest.mark.parametrize(("stream", "of"), [("joint_motion", lambda p: p), ("bone_motion", chained_bones)])
def test_motion_is_the_difference_to_the_next_frame(clip, stream, of):
    frames = of(clip.astype(np.float64))
    motion = np.concatenate([np.diff(frames, axis=0), np.zeros((1, 27, 3))])
    assert np.abs(as_is(clip.astype(np.float64), stream) - centred(motion)).max() < 1e-9


def test_motion_comes_before_resampling(clip):
    motion = np.concatenate([np.diff(clip, axis=0), np.zeros((1, 27, 3), np.float32)])
    index = [int(i * (40 / 120)) for i in range(120)]
    assert np.array_equal(prepare(clip, "joint_motion"), centred(motion[index]).transpose(2, 0, 1))


@pytest.mark.parametrize("length", [1, 30, 84, 119, 121, 168, 300])
def test_index_rule_rounds_the_ratio_first_and_is_not_the_obvious_one(length):
    ratio = length / 120
    assert sample_positions(length, Recipe()).tolist() == [int(i * ratio) for i in range(120)]
    obvious = [i * length // 120 for i in range(120)]
    assert length not in (84, 168) or sample_positions(length, Recipe()).tolist() != obvious


def test_training_takes_each_frame_at_most_as_often_as_needed(clip):
    clip[..., 2] = np.arange(1, 41)[:, None] / 64  # the score tells the frame
    made = prepare(clip, "joint", Recipe(), random.Random(5))
    frames, counts = np.unique(made[2, :, 0] * 64, return_counts=True)
    assert counts.max() <= 3 and counts.sum() == 120 and (np.diff(made[2, :, 0]) >= 0).all()
    assert set(frames) <= set(range(1, 41))


@pytest.mark.parametrize(("stream", "shifted"), [("joint", 1), ("joint_motion", 1), ("bone", 0), ("bone_motion", 0)])
def test_training_shifts_only_joints_and_their_motion(clip, stream, shifted):
    means = [prepare(clip, stream, Recipe(), random.Random(s))[:2, :, 0].mean(1) for s in range(30)]
    largest = np.abs(means).max()
    assert 5 < largest <= 10.001 if shifted else largest < 1e-3


@pytest.mark.parametrize("stream", list(Stream))
def test_infinity_becomes_zero(clip, stream):
    broken, zeroed = clip.copy(), clip.copy()
    broken[3, 4], broken[5, 6, 0], zeroed[3, 4], zeroed[5, 6, 0] = np.inf, -np.inf, 0, 0
    given = broken.copy()
    assert np.array_equal(prepare(given, stream), prepare(zeroed, stream))
    assert np.array_equal(given, broken)


# --- what is refused


SHAPES = [(0, 27, 3), (5, 26, 3), (5, 27, 2), (27, 3), (1, 5, 27, 3)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [*((np.zeros(shape, np.float32), "frames, 27, 3") for shape in SHAPES), (np.zeros((5, 27, 3), int), "floating")],
)
def test_wrong_shapes_and_whole_numbers_are_refused(wrong, words):
    with pytest.raises(UserError, match=words):
        prepare(wrong, "joint")


@pytest.mark.parametrize("recipe", [Recipe(), NORMALISED])
def test_nan_is_refused(clip, recipe):
    clip[2, 3, 1] = np.nan
    with pytest.raises(UserError, match="NaN"):
        prepare(clip, "joint", recipe)


WRONG = [
    ("frobnicate", 1),
    ("bone", "Direct"),
    ("normalise", "hips"),
    ("handless", "maybe"),
    ("views", 3),
    ("window", 0),
]
APART = [("hand_local", True), ("handless", "drop"), ("normalise", "shoulders")]  # alone, which none of them may be


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [*((field, value, field) for field, value in WRONG), *((field, value, r"needs?") for field, value in APART)],
)
def test_unknown_recipe_fields_and_values_and_those_that_do_not_go_together_are_refused(field, value, words):
    with pytest.raises(UserError, match=words):
        Recipe.from_dict({**Recipe().to_dict(), field: value})


def test_recipe_survives_being_written():
    assert Recipe.from_dict(NORMALISED.to_dict()) == NORMALISED
    assert Recipe() == Recipe(120, "chained", "nose", "keep", False, 1)


@pytest.mark.parametrize(("normalise", "bone"), [("nose", "chained"), ("shoulders", "direct")])
@pytest.mark.parametrize(
    ("field", "value"), [("bone", "chained"), ("bone", "direct"), ("handless", "drop"), ("hand_local", True)]
)
def test_every_recipe_field_does_something_or_is_refused(clip, normalise, bone, field, value):
    clip[30:, LEFT_HAND + RIGHT_HAND] = 0

    def inputs(recipe):
        return [prepare(clip, stream, recipe) for stream in Stream]

    if value == bone:
        return
    try:
        changed = inputs(Recipe(normalise=normalise, **{"bone": bone, field: value}))
    except UserError:
        return  # said clearly: fine
    plain = inputs(Recipe(normalise=normalise, bone=bone))
    assert any(a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(changed, plain, strict=True))
