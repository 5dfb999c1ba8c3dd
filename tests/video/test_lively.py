"""Where a long video moves."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.media import write_video

from dsta.video import liveliest, probe


def moving(seconds, begins, ends, fps=10):
    """A white square that goes back and forth between two times, over a little noise."""
    noise, pictures = np.random.default_rng(0), []
    for frame in range(round(seconds * fps)):
        picture = noise.integers(90, 94, (96, 128, 3)).astype(np.uint8)
        time = frame / fps
        left = 20 + round(60 * abs(np.sin(3 * min(max(time, begins), ends))))
        picture[30:60, left : left + 30] = 255
        pictures.append(picture)
    return pictures


@pytest.mark.parametrize(("begins", "ends"), [(0.0, 2.0), (9.0, 11.0), (18.0, 20.0), (5.0, 12.0)])
def test_the_part_is_where_something_moves(tmp_path, begins, ends):
    path = write_video(tmp_path / "a.mp4", moving(20, begins, ends), fps=10)
    looked_at = []
    lively = liveliest(path, probe(path), on_frame=looked_at.append)
    assert lively.end - lively.start == pytest.approx(4.0, abs=0.3) and lively.start >= 0 and lively.end <= 20
    if ends - begins < 4:  # all of it, with about as much room before as after it where there is room
        assert lively.start <= begins + 0.3 and lively.end >= ends - 0.3
        middle = min(max((begins + ends) / 2, 2.0), 18.0)
        assert (lively.start + lively.end) / 2 == pytest.approx(middle, abs=0.7)
    else:
        assert begins - 0.3 <= lively.start and lively.end <= ends + 0.3
    share = np.array(lively.movement)
    times = (np.arange(len(share)) + 0.5) * 20 / len(share)
    within = (times > begins + 0.3) & (times < ends - 0.3)
    assert share[within].mean() > 0.5 and share[(times < begins - 0.3) | (times > ends + 0.3)].max() < 0.3
    assert len(looked_at) == len(share) + 1 and max(looked_at[0].image.shape) == 64


def test_of_a_video_that_is_shorter_than_it_claims_the_part_is_what_there_is(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving(2, 0, 2), fps=10)
    lively = liveliest(path, replace(probe(path), duration=15.0))
    assert 0 <= lively.start <= 0.2 and 1.7 <= lively.end <= 2


def test_a_video_that_stands_still_has_a_part_too(tmp_path):
    path = write_video(tmp_path / "a.mp4", [np.full((64, 96, 3), 90, np.uint8)] * 120, fps=10)
    lively = liveliest(path, probe(path))
    assert lively.end - lively.start == pytest.approx(4.0, abs=0.3) and max(lively.movement) == 0
