"""A folder of videos → a data set: whole, resumable, and every clip that is missing is told."""

import csv
import errno
import os
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from helpers.finders import build_with_two, pose_of

from dsta.common import UserError
from dsta.data import read_clip_set
from dsta.data.prepared import Prepared
from dsta.keypoints import Pose


def test_a_set_is_made_and_read(place):
    summary = place.run(*"abcde", glosses=("g0", "g1", "g2"), splits=("train", "train", "val", "test"))
    assert sorted(place.content()) == ["dataset.json", "index.csv", "joints.npy", "report.csv"]
    held = read_clip_set(place.out, "train")
    assert held.names == ("a.mp4", "b.mp4", "e.mp4")
    assert held.labels.tolist() == [0, 1, 1]
    assert np.array_equal(held.joints[1], pose_of("b").clip())
    assert summary.speed.frames == sum(len(pose_of(n).keypoints) for n in "abcde")
    row = Prepared.read(place.out).rows[0]
    hands = 1 - 1 / len(pose_of("a").keypoints)
    assert (row.hands, row.body, row.estimator) == (pytest.approx(hands, abs=1e-4), 1.0, "mediapipe-holistic")


@pytest.mark.slow
@pytest.mark.parametrize("at_work", ["two processes", "cluster"])
def test_several_workers_make_the_same_bytes_as_one(place, request, at_work):
    names, how = ["a", "bad1", "b", "bug", *"cdef"], {"workers": 2}
    if at_work == "cluster":
        how = {"scheduler": request.getfixturevalue("cluster").scheduler_address}
    place.run(*names)
    summary = place.run(*names, out=place.folder / "there", **how)
    assert place.content(place.folder / "there") == place.content()
    assert 1 <= len(summary.speed.peak_mb) <= 2
    assert not any(worker.endswith(f":{os.getpid()}") for worker in summary.speed.peak_mb)


def test_bad_files_are_rows_of_the_report(place, capsys):
    summary = place.run("a", "bad1", "bug", "b", "gone")
    report = list(csv.reader((place.out / "report.csv").open()))
    assert report == [["file", "reason"], *map(list, summary.problems)]
    assert [name for name, _ in summary.problems] == ["bad1.mp4", "bug.mp4", "gone.mp4"]
    assert dict(summary.problems)["bug.mp4"] == "RuntimeError: the graph failed"
    assert dict(summary.problems)["gone.mp4"] == "No video or keypoint file of that name is in the folder."
    assert capsys.readouterr().err.count("Traceback") == 1
    assert len(summary.prepared.rows) == 2


def test_nothing_that_can_be_prepared_is_told(place):
    with pytest.raises(UserError, match=r"None of the 2 clips .* bad1\.mp4: .* not a video"):
        place.run("bad1", "bad2")
    assert (place.out / "report.csv").read_text().count("not a video") == 2


def children(pid):
    return [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_and_ends_with_the_same_bytes(place, monkeypatch):
    names = [f"c{i}" for i in range(16)] + ["bad1"]
    place.files(*names)
    place.run(*names, out=place.folder / "whole")
    log = place.folder / "log"
    monkeypatch.setenv("FINDER_LOG", str(log))
    monkeypatch.setenv("FINDER_SLEEP", "0.06")
    for enough in (3, 8):
        process = get_context("spawn").Process(target=build_with_two, args=(place.listing(*names), place.out))
        process.start()
        while len(list(place.out.glob(".parts/*.npz"))) < enough:
            assert process.is_alive()
            time.sleep(0.02)
        workers = children(process.pid)
        process.kill()
        process.join()
        deadline = time.monotonic() + 30
        while any(map(running, workers)):  # they end by themselves
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not (place.out / "joints.npy").exists()
    build_with_two(place.listing(*names), place.out)
    assert place.content() == place.content(place.folder / "whole")
    again = len(log.read_text().split()) - len(names)
    assert 0 <= again <= 2 * 4  # what two workers had begun, or done and not handed over


def test_a_finished_clip_is_never_looked_at_again(place):
    place.run("a", "b", "bad1", "c")
    before = place.content()
    place.run("a", "b", "bad1", "c")  # a bad file is tried again: it may have been mended
    assert place.content() == before
    place.run("d", "a", "b", "bad1", "c")  # more videos
    assert place.seen == ["abbad1c", "bad1", "dbad1"]
    place.run("d", "a", "b", "bad1", "c", out=place.folder / "fresh")
    assert place.content() == place.content(place.folder / "fresh")


def test_other_labels_are_taken_over_without_looking_at_videos(place):
    place.run(*"abc")
    place.run(*"cab", signers="123", glosses=("x", "y"))
    assert place.seen == ["abc", ""]
    assert [row.clip for row in Prepared.read(place.out).rows] == ["c.mp4", "a.mp4", "b.mp4"]
    place.run(*"cab", signers="123", glosses=("x", "y"), out=place.folder / "fresh")
    assert place.content() == place.content(place.folder / "fresh")


def test_signers_and_clips_on_both_sides_are_told(place):
    summary = place.run(*"abcdef", "a-copy", splits=("train", "train", "val", "test"), signers="1292318")
    text = " ".join(summary.warnings)
    assert "1 signer is both in train and in test, such as 2" in text
    assert "or so alike that they may be the same recording, such as a.mp4 and a-copy.mp4" in text
    assert len(summary.warnings) == 2


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_and_what_is_finished_is_kept(place, monkeypatch):
    save = Pose.save
    monkeypatch.setattr(
        Pose, "save", lambda pose, path: full() if len(list(path.parent.iterdir())) == 2 else save(pose, path)
    )
    with pytest.raises(UserError, match=r"No space left on device\): what is finished is kept"):
        place.run(*"abc")
    monkeypatch.undo()
    place.run(*"abc")
    assert place.seen == ["abc", "c"]


def test_a_full_disk_at_the_end_leaves_the_old_version(place, monkeypatch):
    place.run("a")
    before = place.content()
    monkeypatch.setattr("dsta.prepare.write._write_npy_header", full)
    with pytest.raises(UserError, match="make room"):
        place.run("a", "b")
    after = place.content()
    assert {name: after[name] for name in before} == before
    assert [name for name in after if name.startswith(".new")] == []
    monkeypatch.undo()
    place.run("a", "b")
    assert len(Prepared.read(place.out).rows) == 2


@pytest.mark.parametrize("name", ["clips.npz", "val_data_joint.npy", "joints.npy"])
def test_a_folder_of_another_thing_is_refused(place, name):
    place.out.mkdir()
    (place.out / name).write_bytes(b"precious")
    with pytest.raises(UserError, match=f"holds {name}"):
        place.run("a")
    assert (place.out / name).read_bytes() == b"precious"
