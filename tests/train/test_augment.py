"""Augmentation: what varies, by how much, and what must never change."""

from dataclasses import fields, replace

import numpy as np
import pytest

from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.streams import mirror, seen, shoulder_frame
from dsta.train.augment import Augmentation, augment

NOTHING = Augmentation(**{field.name: 0.0 for field in fields(Augmentation)})
LEFT, RIGHT = INDEX["left_shoulder"], INDEX["right_shoulder"]


def clip_of(length, seed=0):
    """A smooth clip of a person with shoulders 100 px apart, right hand unseen in the first quarter."""
    rng = np.random.default_rng(seed)
    rest = rng.uniform(150, 350, (27, 2))
    rest[[LEFT, RIGHT]] = (306, 200), (206, 200)
    sway = 10 * np.sin(np.linspace(0, 3, length))[:, None, None] * rng.normal(0, 1, (27, 2))
    sway[:, [LEFT, RIGHT]] = 0
    clip = np.dstack([rest + sway, np.full((length, 27), 0.9)]).astype(np.float32)
    clip[: length // 4, RIGHT_HAND] = 0
    return clip


def variations(clip, by, count=200):
    return [augment(clip, np.random.default_rng(seed), by) for seed in range(count)]


def test_without_any_spread_the_clip_stays():
    clip = clip_of(30)
    assert np.abs(augment(clip, np.random.default_rng(0), NOTHING) - clip).max() < 1e-3


def test_same_generator_same_variation():
    clip = clip_of(30)
    first, again, other = (augment(clip, np.random.default_rng(s), Augmentation()) for s in (7, 7, 8))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


@pytest.mark.parametrize("length", [1, 2, 3, 30])
def test_variations_are_finite_float32_clips_and_unseen_joints_stay_zero(length):
    clip = clip_of(length)
    clip[:, INDEX["nose"]] = 0
    for varied in variations(clip, Augmentation(mirror=0, warp=0.3, crop=0.4), 60):
        assert varied.dtype == np.float32 and 1 <= len(varied) <= length and varied.shape[1:] == (27, 3)
        assert np.isfinite(varied).all()
        assert not varied[:, INDEX["nose"]].any()
        assert not varied[~seen(varied)].any()


def test_the_clip_itself_is_not_touched():
    clip = clip_of(30)
    before = clip.copy()
    variations(clip, replace(Augmentation(), hand_drop=1.0), 5)
    assert np.array_equal(clip, before)


def test_mirror_at_probability_one_is_the_mirrored_clip():
    clip = clip_of(20)
    assert np.abs(augment(clip, np.random.default_rng(0), replace(NOTHING, mirror=1.0)) - mirror(clip)).max() < 1e-3


def test_mirror_at_one_half_mirrors_about_half():
    clip = clip_of(8)
    swapped = [not seen(v)[0, LEFT_HAND].any() for v in variations(clip, replace(NOTHING, mirror=0.5), 400)]
    assert 160 < sum(swapped) < 240


def test_crop_cuts_at_most_its_share_from_each_end():
    clip = clip_of(101)
    clip[:, INDEX["nose"], 0] = np.arange(101)  # the nose tells the time
    times = [v[:, INDEX["nose"], 0] for v in variations(clip, replace(NOTHING, crop=0.1))]
    starts, ends = np.array([(t[0], t[-1]) for t in times]).T
    assert 0 <= starts.min() < 1 and 9 < starts.max() <= 10.01
    assert 89.99 <= ends.min() < 91 and 99 < ends.max() <= 100.01
    assert all(81 <= len(t) <= 101 for t in times)


def test_warp_bends_time_but_never_turns_it_back():
    clip = clip_of(101)
    clip[:, INDEX["nose"], 0] = np.arange(101)
    for varied in variations(clip, replace(NOTHING, warp=0.2), 50):
        time = varied[:, INDEX["nose"], 0]
        assert (np.diff(time) > -1e-3).all() and time.min() >= -1e-3 and time.max() <= 100.001
        assert np.abs(time - np.arange(len(time))).max() > 0.1


def test_shift_is_uniform_in_shoulder_widths():
    clip = clip_of(4)
    moved = np.array([(v - clip)[0, LEFT, :2] for v in variations(clip, replace(NOTHING, shift=0.1), 400)])
    assert 9.5 < np.abs(moved).max() <= 10.001
    assert np.abs(moved.mean(0)).max() < 1.2 and np.abs(moved.std(0) - 10 / np.sqrt(3)).max() < 0.6


def test_noise_is_independent_per_joint_and_frame():
    clip = clip_of(200)
    noise = (augment(clip, np.random.default_rng(0), replace(NOTHING, noise=0.01)) - clip)[seen(clip)][:, :2]
    assert noise.std() == pytest.approx(1.0, rel=0.05)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.05


def test_rotation_keeps_distances_and_has_its_spread_in_degrees():
    clip = clip_of(4)
    arms = np.array([v[0, LEFT, :2] - v[0, RIGHT, :2] for v in variations(clip, replace(NOTHING, rotation=6.0), 500)])
    assert np.abs(np.hypot(*arms.T) - 100).max() < 1e-2
    assert np.rad2deg(np.arctan2(arms[:, 1], arms[:, 0])).std() == pytest.approx(6, rel=0.12)


@pytest.mark.parametrize(("part", "spread"), [("scale", 0.08), ("stretch", 0.10)])
def test_scale_and_stretch_spread_the_logarithm_of_the_width(part, spread):
    clip = clip_of(4)
    widths = [shoulder_frame(v)[1] for v in variations(clip, replace(NOTHING, **{part: spread}), 500)]
    assert np.log(np.array(widths) / 100).std() == pytest.approx(spread, rel=0.12)


def test_stretch_changes_x_alone_and_scale_both():
    clip = clip_of(4)
    height = np.ptp(clip[..., 1], axis=1)[1]
    stretched, scaled = (
        augment(clip, np.random.default_rng(3), replace(NOTHING, **{part: 0.5})) for part in ("stretch", "scale")
    )
    assert np.ptp(stretched[..., 1], axis=1)[1] == pytest.approx(height, rel=1e-4)
    assert np.ptp(scaled[..., 1], axis=1)[1] / height == pytest.approx(shoulder_frame(scaled)[1] / 100, rel=1e-3)


def test_hand_drop_loses_a_run_of_at_most_half_the_clip():
    clip = clip_of(40)
    clip[..., 2] = 0.9
    lost = 0
    for varied in variations(clip, replace(NOTHING, hand_drop=0.5), 200):
        assert seen(varied)[:, :7].all()
        for hand in (LEFT_HAND, RIGHT_HAND):
            gone = np.flatnonzero(~seen(varied)[:, hand].any(1))
            assert np.array_equal(gone, np.flatnonzero(~seen(varied)[:, hand].all(1)))
            if len(gone):
                lost += 1
                assert len(gone) <= 20 and np.array_equal(gone, np.arange(gone[0], gone[0] + len(gone)))
    assert 160 < lost < 240


def test_single_joints_are_lost_in_every_second_clip_up_to_the_share():
    clip = np.full((40, 27, 3), 100, np.float32)
    clip[..., 2] = 1
    lost = [1 - seen(varied).mean() for varied in variations(clip, replace(NOTHING, joint_drop=0.4), 200)]
    assert 0.4 < np.mean([share == 0 for share in lost]) < 0.6
    assert 0.3 < max(lost) < 0.45 and 0.15 < np.mean([share for share in lost if share]) < 0.25
