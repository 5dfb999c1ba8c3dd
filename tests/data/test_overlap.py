"""The same recording is known again when another run has seen it, and two takes of a sign are not."""

import numpy as np
import pytest

from dsta.data import official
from dsta.data.overlap import LENGTH, RADIUS, Fingerprints, distances, features, in_another_group
from dsta.skeleton import INDEX, LEFT_HAND


def signed(seed, frames=60):
    """(frames, 27, 3): a person 100 px wide whose hands go smoothly from place to place."""
    rng, clip = np.random.default_rng(seed), np.zeros((frames, 27, 3))
    at = np.linspace(0, 4, frames)
    for side, name in ((-1, "right"), (1, "left")):
        clip[:, INDEX[f"{name}_shoulder"], :2] = (256 + 50 * side, 250)
        hand = [np.interp(at, range(5), rng.uniform(low, low + 150, 5)) for low in (256 + 80 * side - 75, 200)]
        clip[:, INDEX[f"{name}_wrist"], :2] = np.stack(hand, 1)
        clip[:, INDEX[f"{name}_elbow"], :2] = np.stack(hand, 1) * 0.5 + (120 + 40 * side, 160)
        fingers = np.stack(hand, 1)[:, None] + rng.uniform(-30, 30, (1, 10, 2))
        clip[:, [i for key, i in INDEX.items() if key.startswith(name)][3:], :2] = fingers
    clip[:, INDEX["nose"], :2] = rng.normal((256, 180), 3)
    clip[..., 2] = 1
    return clip.astype(np.float32)


def again(clip, how):
    rng, clip = np.random.default_rng(9), clip.copy()
    if how == "re-estimated":
        clip[..., :2] += rng.normal(0, 1, clip[..., :2].shape)
    elif how == "half the frame rate":
        clip = clip[1::2]
    elif how == "begins later":
        clip = clip[3:]
    elif how == "other picture":  # moved, and its width and height scaled apart
        clip[..., :2] = clip[..., :2] * (0.5, 0.8) + (100, 10)
    elif how == "rest before and after":  # without hands
        rest = np.repeat(clip[:1], 20, 0)
        rest[:, LEFT_HAND[0] :] = 0
        clip = np.concatenate([rest, clip, rest])
    return clip


@pytest.mark.parametrize(
    "how", ["the same", "re-estimated", "half the frame rate", "begins later", "other picture", "rest before and after"]
)
def test_a_recording_is_found_again_among_others(how):
    clips = [signed(seed) for seed in range(40)]
    others = Fingerprints.of(clips)
    copies = Fingerprints.of([again(clip, how) for clip in clips])
    assert copies.found_in(others).tolist() == list(range(40))
    apart = distances(others.codes, others.codes)[~np.eye(40, dtype=bool)]
    assert apart.min() > 2 * RADIUS


def test_quantiles_are_numpys():
    clip = signed(1)
    clip[::3, LEFT_HAND] = 0
    middle = (clip[:, INDEX["left_shoulder"], :2] + clip[:, INDEX["right_shoulder"], :2]) / 2
    unit = (100, 250 - clip[0, INDEX["nose"], 1])
    root = np.where(clip[:, LEFT_HAND[:1], 2] > 0, (clip[:, LEFT_HAND[0], :2] - middle) / unit, np.nan)
    expected = np.nanquantile(root, [0.1, 0.3, 0.5, 0.7, 0.9], axis=0)
    assert np.allclose(features(clip).reshape(5, -1, 2)[:, 6], expected, atol=1e-4)


def test_without_shoulders_only_the_same_numbers_are_the_same_clip():
    clip = signed(0)
    clip[:, INDEX["left_shoulder"]] = 0
    other = clip + np.float32(0.01)
    prints = Fingerprints.of([clip, other, np.full_like(clip, np.nan)])
    assert prints.found_in(Fingerprints.of([clip.copy()])).tolist() == [0, -1, -1]


def test_clips_of_an_official_list_are_known_by_their_ids():
    names = [name for name, _ in zip(official("WLASL2000"), range(6), strict=False)]
    a = Fingerprints.of([signed(i) for i in range(6)], [f"{name}.mp4" for name in names])
    b = Fingerprints.of([signed(i) for i in range(10, 13)], [names[4], "new", names[0]])
    assert b.found_in(a).tolist() == [4, -1, 0]
    own = ["take1", "take2", names[0]]  # a list of one's own
    assert not Fingerprints.of([signed(0)] * 3, own).ids.any()
    glosses = ["x", "y", official("WLASL2000")[names[0]].gloss]
    assert Fingerprints.of([signed(0)] * 3, own, glosses).found_in(a).tolist() == [0, 0, 0]
    assert Fingerprints.of([signed(20)] * 3, own, glosses).found_in(a).tolist() == [-1, -1, 0]
    assert Fingerprints.of([signed(20)] * 3, own, "xyz").found_in(a).tolist() == [-1, -1, -1]


def test_a_union_holds_each_once_and_forgets_the_order():
    prints = Fingerprints.of([signed(seed) for seed in range(5)])
    joined = prints[[3, 1, 4]] | prints[[1, 0]]
    assert len(joined) == 4 and np.array_equal(joined.codes, (prints[[0, 1]] | prints[[4, 3]]).codes)
    assert (prints.found_in(joined) >= 0).tolist() == [True, True, False, True, True]
    assert len(Fingerprints.none() | Fingerprints.none()) == 0 and Fingerprints.none().codes.shape == (0, LENGTH)


def test_clips_of_another_group_too():
    prints = Fingerprints.of([signed(seed) for seed in (0, 1, 0, 2, 2)])
    assert in_another_group(prints, "aabcc").tolist() == [True, False, True, False, False]
