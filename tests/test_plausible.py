"""Joints that cannot be a signer's are told, and those that can are left alone."""

import numpy as np
import pytest
from helpers.clips import signer
from helpers.oracle import SHARED, needs_data

from dsta.data import read_clip_set
from dsta.plausible import hands_exchanged, misfit
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND


def scaled(*factors):
    return signer() * np.float32(factors)


@pytest.mark.parametrize(
    ("clip", "size", "words"),
    [
        (scaled(1 / 512, 1 / 512, 1), (512, 512), "no pixels of a 512×512 picture: its joints would span 0."),
        (scaled(0.01, 0.01, 1) - np.float32([2.5, 2, 0]), (640, 480), "no pixels of a 640×480"),  # shoulder widths
        (scaled(1 / 512, 1 / 512, 1), (64, 64), "no pixels of a 64×64"),
        (scaled(8, 8, 1), (512, 512), "far outside"),
        (scaled(0, 0, 1), (512, 512), "would span 0 of"),
        (scaled(0, 0, 0), (512, 512), "shows nobody"),
        (scaled(1, 1, 1), (512, 512), ""),
        (scaled(1 / 512, 1 / 512, 1), (1, 1), ""),  # fractions of a picture that is said to be of one pixel
        (scaled(0.1, 0.1, 1), (512, 512), ""),  # somebody small
        (scaled(1, 1, 1) + np.float32([300, 0, 0]), (512, 512), ""),  # half out of the picture
    ],
)
def test_the_unit_of_joints(clip, size, words):
    fault = misfit(clip, *size)
    assert words in fault and bool(fault) == bool(words)


def test_hands_at_the_other_wrist():
    assert hands_exchanged(signer(exchanged=True)) and not hands_exchanged(signer())
    for side in (LEFT_HAND, RIGHT_HAND):  # one hand is enough
        clip = signer(exchanged=True)
        clip[:, side] = 0
        assert hands_exchanged(clip)
    mostly = signer(exchanged=True)
    mostly[:8] = signer()[:8]
    assert not hands_exchanged(mostly)


@pytest.mark.parametrize("lost", ["left_wrist", "left_shoulder", "everything", "hands"])
def test_where_it_cannot_be_told_hands_are_not_called_exchanged(lost):
    clip = signer(exchanged=True)
    clip[:, {"everything": slice(None), "hands": LEFT_HAND + RIGHT_HAND}.get(lost) or INDEX[lost]] = 0
    assert not hands_exchanged(clip)
    together = signer(exchanged=True)
    together[..., 0] = np.where(together[..., 1] > 250, 256, together[..., 0])  # both hands before the chest
    assert not hands_exchanged(together)


@needs_data
def test_real_sets_are_plausible():
    held = read_clip_set(SHARED / "data" / "asl_everyday")
    assert not any(misfit(clip, 512, 512) for clip in held.joints[::10])
    of = {source for source, clip in zip(held.sources, held.joints, strict=True) if hands_exchanged(clip)}
    assert of == {"s02"}
