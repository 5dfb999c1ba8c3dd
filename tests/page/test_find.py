"""What is looked at of a file: all of a short video, a part of a long one."""

import numpy as np
import pytest
from helpers.media import numbered, write_video
from helpers.page import recognition

from dsta.common import UserError
from dsta.page import find
from dsta.page.find import found_in
from dsta.video import Frame


@pytest.fixture
def looked_at(monkeypatch):
    """The parts in which joints were looked for; they are always found."""
    parts = []

    def extract(path, *, fps, progress, on_frame, start=0.0, end=None, info=None):
        parts.append((start, end))
        for number in range(12):
            on_frame(Frame(number / 25, np.zeros((120, 160, 3), np.uint8)))
        progress("Finding joints", 1.0)
        return recognition().pose

    monkeypatch.setattr(find, "extract", extract)
    return parts


def video(tmp_path, seconds):
    return write_video(tmp_path / "a.mp4", numbered(round(4 * seconds)), fps=4)


def test_a_short_video_is_looked_at_whole(tmp_path, looked_at):
    found = found_in(video(tmp_path, 10), 15.0, None, lambda *_: None)
    assert looked_at == [(0.0, None)] and found.part is None
    still, moving = found.draw()
    assert still.startswith(b"RIFF") and moving.startswith(b"RIFF") and b"ANIM" in moving


def test_of_a_long_video_its_liveliest_part(tmp_path, looked_at):
    steps = []
    found = found_in(video(tmp_path, 30), 15.0, None, lambda step, share: steps.append((step, share)))
    (span,) = looked_at
    assert span == (found.part.start, found.part.end) and found.part.end - found.part.start == pytest.approx(4, abs=0.3)
    assert found.part.seconds == pytest.approx(30, abs=0.3) and len(found.part.movement) > 100
    sought = [share for step, share in steps if step == "Looking for the liveliest part"]
    assert len(sought) > 100 and sought == sorted(sought) and sought[-1] <= 1


def test_the_part_that_is_asked_for(tmp_path, looked_at):
    found = found_in(video(tmp_path, 30), 15.0, (3.5, 9.0), lambda *_: None)
    assert looked_at == [(3.5, 9.0)] and found.part.movement == ()


@pytest.mark.parametrize("part", [(3.0, 3.2), (3.0, 20.0), (40.0, 44.0), (-1.0, 3.0), (float("nan"), 3.0)])
def test_what_is_no_part_is_told(tmp_path, looked_at, part):
    with pytest.raises(UserError, match="must take 0.5 to 10 seconds".replace(".", r"\.")):
        found_in(video(tmp_path, 30), 15.0, part, lambda *_: None)
    assert not looked_at


def test_a_skeleton_file_is_read(tmp_path):
    recognition().pose.save(tmp_path / "a.npz")
    found = found_in(tmp_path / "a.npz", 15.0, None, lambda *_: None)
    assert len(found.pose.keypoints) == 12 and found.draw is None
