"""The process that looks for joints: what it answers, and that nothing keeps the next visitor from being served."""

import os
import shutil
import signal
import time

import numpy as np
import pytest
from helpers.media import numbered, write_video
from helpers.page import recognition

from dsta.common import UserError
from dsta.page import finder as module
from dsta.page.finder import Finder
from dsta.page.uploads import Stopped

pytestmark = pytest.mark.slow
FPS = 15.0
CLIPS = module._ROOT.parent / "shared" / "data" / "wlasl_clips"


def nothing(*_):
    pass


@pytest.fixture(scope="module")
def shared():
    made = Finder()
    yield made
    made.close()


@pytest.fixture
def finder(shared):
    """One that serves, before a test and after it, whatever the test does to it."""
    serves(shared)
    yield shared
    serves(shared)


@pytest.fixture
def joints(tmp_path):
    recognition().pose.save(tmp_path / "a.npz")
    return tmp_path / "a.npz"


def serves(finder):
    with pytest.raises(UserError, match="was not found"):
        finder.find(module._ROOT / "nothing.mp4", FPS, None, nothing, nothing)


def process(finder):
    return finder._process.pid


def long_video(tmp_path):
    return write_video(tmp_path / "long.mp4", numbered(200, 640, 480))


def test_it_answers_as_this_process_would(finder, joints, video):
    found = finder.find(joints, FPS, None, nothing, nothing)
    assert np.array_equal(found.pose.keypoints, recognition().pose.keypoints) and found.part is None
    steps = []
    with pytest.raises(UserError, match=r"No person was found in sign\.mp4"):
        finder.find(video, FPS, None, lambda step, share: steps.append((step, share)), nothing)
    assert steps[0] == ("Reading the video", 0.0) and steps[1][0] == "Finding joints" and len(steps) > 5


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no real clips on this machine")
def test_pictures_are_drawn_when_they_are_asked_for_and_not_of_what_was_forgotten(finder):
    clip, before = sorted(CLIPS.glob("*.mp4"))[0], process(finder)
    still, moving = finder.find(clip, FPS, None, nothing, nothing).draw()
    assert still.startswith(b"RIFF") and b"ANIM" in moving
    found = finder.find(clip, FPS, None, nothing, nothing)
    finder.forget()
    with pytest.raises(UserError, match="are forgotten"):
        found.draw()
    gone = []

    def check():
        if gone:
            raise Stopped

    found = finder.find(clip, FPS, None, nothing, check)
    assert process(finder) == before
    gone.append(True)
    with pytest.raises(Stopped):  # within a second, whether the process is kept or begun anew
        found.draw()


def test_what_is_no_file_of_ours_is_the_same_sentence(finder, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match=r"broken\.mp4 is not a video that can be read"):
        finder.find(tmp_path / "broken.mp4", FPS, None, nothing, nothing)


@pytest.mark.parametrize("idle", [True, False])
def test_one_that_is_killed_is_begun_anew(finder, tmp_path, joints, idle):
    killed = process(finder)

    def kill(*_):
        os.kill(killed, signal.SIGKILL)

    if idle:
        kill()
        finder._process.wait()
        assert len(finder.find(joints, FPS, None, nothing, nothing).pose.keypoints) == 12
    else:
        with pytest.raises(UserError, match=r"broke off at long\.mp4: try again; .* convert"):
            finder.find(long_video(tmp_path), FPS, None, kill, nothing)
    assert process(finder) != killed


def test_it_stops_within_a_second_and_is_kept(finder, tmp_path):
    before, told = process(finder), []

    def check():
        if told:
            raise Stopped

    def progress(step, share):
        if step == "Finding joints":
            told.append(time.monotonic())

    with pytest.raises(Stopped):
        finder.find(long_video(tmp_path), FPS, None, progress, check)
    assert time.monotonic() - told[0] < 1 and process(finder) == before


def test_one_that_hangs_is_ended(finder, tmp_path):
    before = process(finder)

    def hang(*_):
        os.kill(before, signal.SIGSTOP)
        raise Stopped

    with pytest.raises(Stopped):
        finder.find(long_video(tmp_path), FPS, None, hang, nothing)
    assert process(finder) != before


def test_a_file_that_takes_too_long(finder, tmp_path, monkeypatch):
    monkeypatch.setattr(finder, "seconds", 0.1)
    with pytest.raises(UserError, match=r"long\.mp4 took longer than 0 seconds"):
        finder.find(long_video(tmp_path), FPS, None, nothing, nothing)


def test_a_file_that_takes_too_much_memory(video, joints):
    """One picture of 7680 × 4320 takes fifty megabytes, decoded."""
    small = Finder(memory=2**25)
    large = write_video(video.with_name("large.mp4"), numbered(2, 7680, 4320), codec="mpeg4")
    try:
        with pytest.raises(UserError, match=r"large\.mp4 takes (too much|more) memory.*scale it down"):
            small.find(large, FPS, None, nothing, nothing)
        assert small.find(joints, FPS, None, nothing, nothing)
    finally:
        small.close()


def test_a_pose_model_that_is_gone_is_told(tmp_path, video, monkeypatch):
    shutil.copytree(module._ROOT / "dsta", tmp_path / "dsta", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    without = Finder()
    try:
        with pytest.raises(UserError, match=r"The pose model holistic_landmarker\.task is missing"):
            without.find(video, FPS, None, nothing, nothing)
    finally:
        without.close()


def test_one_that_never_begins_is_told(tmp_path, video, monkeypatch, caplog):
    monkeypatch.setattr(module, "_ROOT", tmp_path)  # where there is no such program
    (tmp_path / "dsta").mkdir()
    (tmp_path / "dsta" / "__init__.py").write_text("raise RuntimeError")
    with pytest.raises(UserError, match="try again in a minute"):
        Finder().find(video, FPS, None, nothing, nothing)
    assert "does not begin" in caplog.text
