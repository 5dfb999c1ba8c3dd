"""Average skeletons, of made-up signs whose timing and place are known."""

import numpy as np
import pytest
from helpers.clips import signer

from dsta.reference import FRAMES, average, in_step, on_shoulders, warping
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.streams import mirror, resample

TIP = INDEX["right_index_tip"]


def moved(places, right_only=True):
    """A clip of somebody whose right hand lies at these heights, frame by frame; the left one is not seen."""
    clip = signer(len(places))
    clip[:, RIGHT_HAND, 1] += np.asarray(places, np.float32)[:, None] - clip[:, TIP, 1][:, None]
    if right_only:
        clip[:, LEFT_HAND] = 0
    return clip


HEIGHTS = 330 - 120 * np.sin(np.linspace(0, np.pi, 40))


@pytest.fixture
def signers():
    """One sign by five people: slower or with a rest at an end, nearer to the camera, and left-handed."""
    late, slow = np.r_[np.full(25, HEIGHTS[0]), HEIGHTS], np.interp(np.linspace(0, 39, 90), np.arange(40), HEIGHTS)
    near = moved(HEIGHTS)
    near[..., :2] *= 0.7
    return [moved(HEIGHTS), moved(late), moved(slow), near, mirror(moved(HEIGHTS))]


def test_who_signs_late_slowly_nearer_or_with_the_other_hand_counts_the_same(signers):
    found, count = average(signers, list("abcde"))
    assert found.shape == (FRAMES, 27, 3) and count == 5
    assert (found[:, TIP, 2] > 0).all() and not found[:, LEFT_HAND].any()
    want = resample(on_shoulders(moved(HEIGHTS)), np.linspace(0, 39, FRAMES))
    # a plain mean would blur the peak away: the late one is still at rest there
    assert found[:, TIP, 1].min() == pytest.approx(want[:, TIP, 1].min(), abs=6)
    assert abs(np.argmin(found[:, TIP, 1]) / FRAMES - 0.5) < 0.3


def test_every_signer_counts_the_same_however_many_clips_there_are():
    high, low = moved(HEIGHTS - 60), moved(HEIGHTS)
    many, count = average([low] * 9 + [high], ["a"] * 9 + ["b"])
    one, _ = average([low, high], ["a", "b"])
    assert count == 2 and np.abs(many - one).max() < 1e-3


def test_a_joint_that_most_signers_do_not_show_is_not_shown():
    both, alone = moved(HEIGHTS, right_only=False), moved(HEIGHTS)
    assert not average([both, alone, alone], list("abc"))[0][:, LEFT_HAND].any()
    shown = average([both, both, alone], list("abc"))[0][:, LEFT_HAND, 2]
    assert shown.max() == pytest.approx(2 / 3, abs=1e-3)


def test_without_a_hand_there_is_no_average():
    clip = signer()
    clip[:, [*LEFT_HAND, *RIGHT_HAND]] = 0
    assert average([clip], ["a"]) is None and average([], []) is None


def test_the_cheapest_way_is_that_of_all_ways():
    """Against every way through a small table."""
    rng = np.random.default_rng(0)
    one, other = (moved(HEIGHTS[:: 40 // n][:n] + rng.normal(0, 9, n)) for n in (4, 5))

    def apart(i, j):
        both = np.sqrt(((on_shoulders(one)[i, :, :2] - on_shoulders(other)[j, :, :2]) ** 2).sum(-1))
        return both[on_shoulders(one)[i, :, 2] > 0].mean()

    def cheapest(i, j):
        if min(i, j) < 0:
            return np.inf
        before = min(cheapest(i - 1, j), cheapest(i, j - 1), cheapest(i - 1, j - 1)) if i + j else 0
        return apart(i, j) + before

    path, cost = warping(one, other)
    assert cost * len(path) * 110 == pytest.approx(cheapest(3, 4), rel=1e-4)
    assert sum(apart(i, j) for i, j in path) == pytest.approx(cheapest(3, 4), rel=1e-4)
    assert tuple(path[0]) == (0, 0) and tuple(path[-1]) == (3, 4)


def test_a_clip_goes_in_step_with_a_reference_also_of_the_other_hand():
    reference = resample(on_shoulders(moved(HEIGHTS)), np.linspace(0, 39, FRAMES))
    for clip, other_hand in ((moved(HEIGHTS), False), (mirror(moved(HEIGHTS)), True)):
        steps, mirrored = in_step(clip, reference)
        assert mirrored is other_hand and len(steps) == 40 and steps[0] == 0 and steps[-1] == FRAMES - 1
        met = np.interp(np.arange(40) * (FRAMES - 1) / 39, np.arange(FRAMES), reference[:, TIP, 1])
        assert np.abs(reference[steps, TIP, 1] - met).mean() < 3
