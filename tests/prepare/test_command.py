"""`python -m dsta.prepare`, mostly on keypoint files, of which no video need be looked at, and on real videos."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import signer
from helpers.finders import pose_of
from helpers.media import numbered, write_sound, write_video

from dsta.common import UserError
from dsta.data import read_clip_set
from dsta.data.prepared import Prepared
from dsta.keypoints import Pose
from dsta.prepare import measure
from dsta.prepare.__main__ import main

CLIPS = Path(__file__).parents[3] / "shared" / "data" / "wlasl_clips"


@pytest.fixture
def keypoints(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in "abcd":
        pose_of(name).save(videos / f"{name}.npz")
    pose_of("e").save(videos / "e.pose")
    (tmp_path / "labels.csv").write_text(
        "file,gloss,split,signer\na.mp4,yes,train,1\nb.npz,no,train,2\nc,yes,val,3\nd.npz,no,test,1\n"
    )
    return tmp_path


def call(place, *more, labels="labels.csv"):
    where = [str(place / "videos"), "--labels", str(place / labels), "--out", str(place / "out"), "--workers", "1"]
    return main([*where, *more])


def test_the_command_line_prepares_and_says_what_it_did(keypoints, capsys):
    assert call(keypoints) == 0
    out, err = capsys.readouterr()
    assert "4 clips (train 2, val 1, test 1) of 2 glosses" in out
    assert "mediapipe-holistic" in out
    assert "1 files in" in err
    assert "1 signer is both in train and in test" in err
    assert np.array_equal(read_clip_set(keypoints / "out", "val").joints[0], pose_of("c").clip())


def test_clips_whose_hands_were_exchanged_are_said(keypoints, capsys):
    Pose(signer(exchanged=True), 25.0, 512, 512, "mediapipe-holistic").save(keypoints / "videos" / "b.npz")
    assert call(keypoints) == 0
    assert "In 1 clips each hand lies at the other one's wrist, such as b.npz" in capsys.readouterr().err


def test_upstreams_form_is_written_and_kept_up_to_date(keypoints, capsys):
    assert call(keypoints, "--format", "upstream") == 0
    assert "150 frames a clip" in capsys.readouterr().out
    upstream = keypoints / "out" / "upstream"
    assert read_clip_set(upstream, "train").names == ("a.mp4", "b.npz")
    assert read_clip_set(keypoints / "out", "train").joints[0].shape == pose_of("a").keypoints.shape
    (keypoints / "labels.csv").write_text("file,gloss,split\na.mp4,yes,val\n")
    assert call(keypoints) == 0
    assert {path.name for path in upstream.iterdir()} == {"dataset.json", "val_data_joint.npy", "val_label.pkl"}


def test_what_became_of_earlier_clips_and_what_is_missing_is_said(keypoints, capsys):
    def prepared(*lines):
        (keypoints / "labels.csv").write_text("\n".join(["file,gloss,split", *lines]))
        return call(keypoints), capsys.readouterr().err

    assert prepared("a,yes,train", "b,no,train")[0] == 0
    code, err = prepared("c,yes,train")
    assert code == 0 and "2 clips that were found before are not in the data set now" in err
    for name in "ab":
        (keypoints / "videos" / f"{name}.npz").unlink()
    code, err = prepared("a,yes,val", "b,no,val")
    assert (
        code == 0 and "2 clips whose file is not there now" in err
    )  # no file of the list is there, and none is needed
    assert [row.split for row in Prepared.read(keypoints / "out").rows] == ["val", "val"]
    code, err = prepared("a,yes,val", "gone.mp4,no,val", "lost.mp4,no,val")
    assert code == 2 and "2 of 3 clips could not be prepared (2 have no file)" in err
    assert "gone.mp4" in (keypoints / "out" / "report.csv").read_text()
    code, err = prepared("z,no,val")
    assert code == 2 and "None of the 1 clips could be prepared, such as z: No video" in err
    assert [row.clip for row in Prepared.read(keypoints / "out").rows] == ["a"]


@pytest.mark.parametrize("option", ["--fps 0", "--workers 0", "--subset 100"])
def test_wrong_options_are_told(keypoints, capsys, option):
    assert call(keypoints, *option.split()) == 2
    assert option.split()[0] in capsys.readouterr().err


def test_wrong_files_are_told(keypoints, capsys):
    assert call(keypoints, labels="none.csv") == 2
    assert "none.csv is missing" in capsys.readouterr().err
    (keypoints / "other.csv").write_text("file,gloss,split\nz.mp4,yes,val\n")
    assert call(keypoints, labels="other.csv") == 2
    assert "None of the 1 clips in the list has a file" in capsys.readouterr().err
    assert not (keypoints / "out").exists()


def test_a_file_whose_name_is_in_no_encoding_is_a_row_of_the_report(keypoints):
    (keypoints / "videos" / os.fsdecode(b"\xe9t\xe9 [abcdefghijk].mp4")).write_text("no video")
    (keypoints / "labels.csv").write_text("file,gloss,split\na,yes,train\nabcdefghijk,yes,train\n")
    assert call(keypoints) == 2
    assert "abcdefghijk,?t? [abcdefghijk].mp4 is not a video" in (keypoints / "out" / "report.csv").read_text().replace(
        '"', ""
    )


def test_wlasl_is_understood(keypoints, capsys):
    clip = {"video_id": "a", "frame_start": 1, "frame_end": -1, "split": "val", "url": "", "signer_id": 3, "bbox": None}
    entries = [{"gloss": f"g{i}", "instances": [clip] if i == 7 else []} for i in range(100)]
    (keypoints / "WLASL.json").write_text(json.dumps(entries))
    where = [str(keypoints / "videos"), "--wlasl", str(keypoints / "WLASL.json"), "--subset", "100"]
    assert main([*where, "--out", str(keypoints / "WLASL100"), "--workers", "1"]) == 0
    held = read_clip_set(keypoints / "WLASL100")
    assert (held.names, held.labels.tolist(), len(held.glosses)) == (("a",), [7], 100)
    assert "WLASL100" in (keypoints / "WLASL100" / "dataset.json").read_text()


@pytest.mark.slow
def test_videos_that_are_none_are_rows_each_with_its_sentence(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "empty.mp4").touch()
    (videos / "text.mp4").write_text("no video")
    write_video(videos / "one.mp4", numbered(1))
    write_video(videos / "long.mp4", numbered(70), fps=1)
    write_sound(videos / "sound.mp4")
    pose_of("a").save(videos / "good.npz")
    told = {
        "empty": "0 bytes",
        "text": "not a video",
        "one": "one readable frame",
        "long": "longer than 60 seconds",
        "sound": "no pictures",
    }
    rows = "".join(f"{name},g,train\n" for name in (*told, "good"))
    (tmp_path / "labels.csv").write_text(f"file,gloss,split\n{rows}")
    assert call(tmp_path) == 2
    reasons = dict(list(csv.reader((tmp_path / "out" / "report.csv").open()))[1:])
    assert all(words in reasons[name] for name, words in told.items())
    assert read_clip_set(tmp_path / "out", "train").names == ("good",)


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.exists(), reason="the real videos are not here")
def test_a_real_video_gives_what_extract_gives():
    from dsta.video import extract

    speed = measure([CLIPS / "01377.mp4"] * 2, workers=2)  # in processes of their own, whose memory is theirs alone
    assert speed.frames == 2 * len(extract(CLIPS / "01377.mp4").keypoints) == 36
    assert 100 < max(speed.peak_mb.values()) < 1200
    with pytest.raises(UserError, match="not found"):
        measure([CLIPS / "none.mp4"], workers=1)
