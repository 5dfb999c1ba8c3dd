"""What is said of a camera's pictures, of made-up hands whose movement is known."""

import numpy as np
import pytest
from helpers.clips import signer

from dsta.page.watch import RATE, Watch
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND

SIZE = (512, 384)
HANDS = [*LEFT_HAND, *RIGHT_HAND]


def still(height=0.0):
    joints = signer(1)[0]
    joints[HANDS, 1] -= height
    return joints


def watched(heights, fps=10.0, watch=None):
    """What is said of each picture of hands at these heights, in pixels; the shoulders are 100 apart."""
    watch = watch or Watch()
    return [watch.add(i / fps, still(height), SIZE) for i, height in enumerate(heights)]


def test_a_sign_is_the_movement_between_two_rests():
    up = np.linspace(0, 150, 10)  # in a second: 1.5 shoulder widths
    said = watched([*[0] * 10, *up, *[150] * 8])
    assert not any(look.moving for look in said[:11]) and all(look.moving for look in said[11:20])
    (ended,) = [i for i, look in enumerate(said) if look.sign is not None]
    assert 23 <= ended <= 24  # 0.4 s after the last movement, in picture 19
    clip = said[ended].sign
    assert len(clip) == pytest.approx((0.9 + 0.2) * RATE, abs=2)
    tips = still()[INDEX["right_index_tip"], 1] - clip[:, INDEX["right_index_tip"], 1]
    assert tips[0] == pytest.approx(0, abs=2) and tips[-1] == pytest.approx(150, abs=2)
    assert said[ended].resting and not said[15].resting


def test_a_twitch_is_no_sign_and_what_never_rests_is_cut():
    assert all(look.sign is None for look in watched([0, 0, 40, 40, 40, 40, 40, 40, 40, 40]))
    waving = [100 * (i % 2) for i in range(120)]
    signs = [look.sign for look in watched(waving) if look.sign is not None]
    assert len(signs) == 2 and all(4.5 * RATE < len(sign) < 5.5 * RATE for sign in signs)


def test_hands_that_are_not_seen_rest_and_times_that_do_not_rise_are_borne():
    watch = Watch()
    watched([0, 40, 80, 120, 160, 200], watch=watch)
    gone = still()
    gone[HANDS] = 0
    said = [watch.add(0.6 + i / 10, gone, SIZE) for i in range(8)]
    assert [look.sign is not None for look in said].count(True) == 1
    assert watch.add(0.0, gone, SIZE).resting
    assert len(watch.times) == len(watch.joints) == 15


def test_old_pictures_are_forgotten():
    watch = Watch()
    watched([0] * 300, watch=watch)
    assert 75 < len(watch.times) < 85


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda joints: joints, ""),
        (lambda joints: joints * 0, "not seen"),
        (lambda joints: joints * [3.2, 1, 1] - [500, 0, 0], "Step back"),
        (lambda joints: joints * [0.3, 0.3, 1] + [150, 0, 0], "Come closer"),
        (lambda joints: joints + [0, 170, 0] * (joints[:, 2:] > 0), "Tilt the camera down"),
        (lambda joints: joints - [190, 0, 0] * (joints[:, 2:] > 0), "both hands in view"),
    ],
)
def test_hints(change, words):
    hint = Watch().add(0.0, change(still()), SIZE).hint
    assert words in hint if words else hint == ""
