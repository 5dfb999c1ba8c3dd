"""A clip of a list → its joints: which part of which file, and where in the picture."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import signer
from helpers.finders import pose_of
from helpers.media import claim_seconds, numbered, write_video

from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.prepare.cache import JointsCache, cache_key
from dsta.prepare.joints import _part_to_read, crop_box, find_joints
from dsta.prepare.library import ListedClip
from dsta.video.read import VideoInfo

WIDE = VideoInfo(1280, 720, 3.0, 25.0, "h264")


def listed(file="a.mp4", **fields):
    return ListedClip("a", "g", "train", Path(file), **fields)


@pytest.mark.parametrize(
    ("start", "end", "duration", "expected"),
    [
        (0.0, None, 3.0, (0.0, None)),
        (1.0, None, 3.0, (1.0, None)),
        (4.0, 6.0, 60.0, (4.0, 6.0)),  # the full video
        (4.0, 6.0, 2.04, (0.0, None)),  # cut before
        (4.0, 6.0, None, (4.0, 6.0)),
        (0.0, 2.0, 2.0, (0.0, None)),
    ],
)
def test_a_file_no_longer_than_the_part_is_the_part(start, end, duration, expected):
    assert _part_to_read(listed(start=start, end=end), duration) == expected


@pytest.mark.parametrize(
    ("box", "in_pixels", "expected"),
    [
        (None, False, None),
        ((0.5, 0.1, 0.9, 1.0), False, (538, 0, 1254, 720)),  # a fifth of its width and height wider on each side
        ((0.05, 0.0, 0.95, 1.0), False, None),  # most of the picture
        ((640, 72, 1152, 720), True, (538, 0, 1254, 720)),
        ((320, 36, 576, 360), True, None),  # of the video at half its size
        ((960, 108, 1728, 1080), True, None),  # of the video at one and a half times its size
        ((0.5, 0.5, 0.5, 0.5), False, None),
    ],
)
def test_the_signer_is_looked_for_in_the_box_and_a_margin(box, in_pixels, expected):
    assert crop_box(listed(box=box, box_in_pixels=in_pixels), WIDE) == expected


def test_a_keypoint_file_is_read_and_cut(tmp_path):
    pose = Pose(np.repeat(pose_of("a").keypoints, 20, 0), 30.0, 640, 480, "hrnet-wholebody")
    for name in ("a.npz", "a.pose"):
        pose.save(tmp_path / name)
        whole, cut = listed(tmp_path / name), listed(tmp_path / name, start=0.5, end=1.5)
        assert np.abs(find_joints(whole, 25).keypoints - pose.keypoints).max() < 0.01
        part = find_joints(cut, 25)
        assert (part.fps, part.estimator) == (30.0, "hrnet-wholebody")
        assert np.abs(part.keypoints - pose.keypoints[15:45]).max() < 0.01
    with pytest.raises(UserError, match="frames from 90 s"):
        find_joints(listed(tmp_path / "a.npz", start=90.0), 25)


@pytest.mark.parametrize(
    ("scale", "words"),
    [((1 / 640, 1 / 480, 1), "a.npz holds no pixels of a 640×480"), ((9, 9, 1), "far outside"), ((0, 0, 0), "nobody")],
)
def test_joints_that_cannot_be_a_persons_are_a_problem(tmp_path, scale, words):
    Pose(signer() * np.float32(scale), 30.0, 640, 480, "hrnet-wholebody").save(tmp_path / "a.npz")
    with pytest.raises(UserError, match=words):
        find_joints(listed(tmp_path / "a.npz"), 25)


def test_the_part_of_a_video_is_asked_for(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr("dsta.prepare.joints.extract", lambda path, **how: asked.update(how) or pose_of("a"))
    video = write_video(tmp_path / "a.mp4", numbered(50))
    find_joints(listed(video, start=0.4, end=1.2, box=(0.0, 0.0, 0.4, 1.0)), 12)
    assert asked.pop("info").width == 96
    assert asked == {"fps": 12, "start": 0.4, "end": 1.2, "box": (0, 0, 46, 64), "threads": 1}
    find_joints(listed(video, start=9.0, end=10.0), 12)
    assert asked["start"] == 9.0
    find_joints(listed(video, start=9.0, end=11.0), 12)
    assert (asked["start"], asked["end"]) == (0.0, None)


@pytest.mark.parametrize("claimed", [0.2, 2.0, 60.0])
def test_a_part_is_cut_by_the_time_that_was_measured(tmp_path, monkeypatch, claimed):
    asked = {}
    monkeypatch.setattr("dsta.prepare.joints.extract", lambda path, **how: asked.update(how) or pose_of("a"))
    video = claim_seconds(write_video(tmp_path / "a.mp4", numbered(50)), claimed)
    find_joints(listed(video, start=0.4, end=1.2), 12)
    assert (asked["start"], asked["end"]) == (0.4, 1.2)
    find_joints(listed(video, start=9.0, end=11.0), 12)
    assert (asked["start"], asked["end"]) == (0.0, None)


@pytest.mark.parametrize("rate", [0.5, 1e6])
def test_a_rate_by_which_no_part_can_be_found_is_told(tmp_path, rate):
    Pose(pose_of("a").keypoints, rate, 640, 480, "hrnet-wholebody").save(tmp_path / "a.npz")
    find_joints(listed(tmp_path / "a.npz"), 25)
    with pytest.raises(UserError, match="frames a second, by which the part"):
        find_joints(listed(tmp_path / "a.npz", start=0.5, end=1.5), 25)


def test_the_key_tells_files_parts_boxes_and_rates_apart(tmp_path):
    video, other, joints = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "a.npz"
    for path in (video, other, joints):
        path.write_bytes(b"x")
    clips = [
        listed(video),
        listed(other),
        listed(joints),
        listed(video, start=1.0),
        listed(video, end=1.0),
        listed(video, box=(0, 0, 1, 1)),
        listed(video, box=(0, 0, 1, 1), box_in_pixels=True),
    ]
    keys = [cache_key(clip, 25) for clip in clips] + [cache_key(listed(video), 15)]
    assert len(set(keys)) == len(keys)
    assert cache_key(ListedClip("z", "other gloss", "test", video), 25) == keys[0]  # labels change no joint
    assert cache_key(listed(joints), 15) == keys[2]  # nor does the rate, where there are joints already
    os.utime(video, (1, 1))
    assert cache_key(listed(video), 25) != keys[0]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / ".parts").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot be written .* is kept"):
        JointsCache(tmp_path / ".parts").add("k", pose_of("a"))
