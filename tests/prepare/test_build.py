"""A folder of videos → a data set: whole, resumable, and every clip that is missing is told."""

import csv
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.finders import made_up, pose_of

from dsta.common import UserError
from dsta.data import read_clip_set
from dsta.data.prepared import Prepared
from dsta.keypoints import Pose
from dsta.prepare import build_dataset
from dsta.prepare.library import Library
from dsta.prepare.lists import read_table

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "train", "val", "test")

RUN = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from helpers.finders import made_up
from dsta.prepare import build_dataset
from dsta.prepare.library import Library
from dsta.prepare.lists import read_table
if __name__ == "__main__":
    videos, labels, out, workers = sys.argv[1:]
    build_dataset(read_table(labels, Library(videos)), out, workers=int(workers), find=made_up, progress=False)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("FINDER_LOG", str(tmp_path / "log"))
    return tmp_path


def labelled(place, names, signers=None, rows=()):
    """Files of these names, which hold no video, and the table of their labels."""
    videos = place / "videos"
    videos.mkdir(exist_ok=True)
    for name in names:
        path = videos / f"{name}.mp4"
        path.write_bytes(name.encode())
        os.utime(path, (1, 1))
    with (place / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "gloss", "split", "signer"])
        for i, name in enumerate(names):
            writer.writerow([f"{name}.mp4", f"g{i % 3}", SPLITS[i % 4], signers[i] if signers else ""])
        writer.writerows(rows)
    return read_table(place / "labels.csv", Library(videos))


def made(place, listing, out="out", **how):
    return build_dataset(listing, place / out, **{"workers": 1, "find": made_up, "progress": False, **how})


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read_index(folder):
    return Prepared.read(folder).rows


def log(place):
    path = place / "log"
    return path.read_text().split() if path.exists() else []


def test_a_set_is_made_and_read(place):
    summary = made(place, labelled(place, ["a", "b", "c", "d", "e"]))
    assert sorted(content(place / "out")) == ["dataset.json", "index.csv", "joints.npy", "report.csv"]
    held = read_clip_set(place / "out", "train")
    assert held.names == ("a.mp4", "b.mp4", "e.mp4")
    assert held.labels.tolist() == [0, 1, 1]
    assert np.array_equal(held.joints[1], pose_of("b").clip())
    assert summary.speed.frames == sum(len(pose_of(n).keypoints) for n in "abcde")
    rows = list(csv.DictReader((place / "out" / "index.csv").open()))
    hands = 1 - 1 / len(pose_of("a").keypoints)
    assert (float(rows[0]["hands"]), float(rows[0]["body"])) == (pytest.approx(hands, abs=1e-4), 1.0)
    assert rows[0]["estimator"] == "mediapipe-holistic"


@pytest.mark.slow
def test_two_workers_make_the_same_bytes_as_one(place):
    listing = labelled(place, ["a", "bad1", "b", "bug", "c", "d"])
    made(place, listing, "one")
    made(place, listing, "two", workers=2)
    assert content(place / "one") == content(place / "two")


def test_bad_files_are_rows_of_the_report(place, capsys):
    summary = made(place, labelled(place, ["a", "bad1", "bug", "b"], rows=[["gone.mp4", "g", "test", ""]]))
    report = list(csv.reader((place / "out" / "report.csv").open()))
    assert report == [["file", "reason"], *map(list, summary.problems)]
    assert [name for name, _ in summary.problems] == ["bad1.mp4", "bug.mp4", "gone.mp4"]
    assert dict(summary.problems)["bug.mp4"] == "RuntimeError: the graph failed"
    assert capsys.readouterr().err.count("Traceback") == 1
    assert len(summary.prepared.rows) == 2


def test_nothing_that_can_be_prepared_is_told(place):
    with pytest.raises(UserError, match=r"None of the 2 clips .* bad1\.mp4: .* not a video"):
        made(place, labelled(place, ["bad1", "bad2"]))
    assert (place / "out" / "report.csv").read_text().count("not a video") == 2


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
    made(place, labelled(place, names), "whole")
    (place / "log").unlink()
    monkeypatch.setenv("FINDER_SLEEP", "0.06")
    command = [sys.executable, "-c", RUN, str(place / "videos"), str(place / "labels.csv"), str(place / "out"), "2"]
    kills = 0
    for enough in (3, 8):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        while len(list((place / "out").glob(".parts/*.npz"))) < enough:
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.02)
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        kills += 1
        deadline = time.monotonic() + 30
        while any(map(running, workers)):  # they end by themselves
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not (place / "out" / "joints.npy").exists()
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert content(place / "out") == content(place / "whole")
    again = len(log(place)) - len(names)
    assert 0 <= again <= kills * 4  # what two workers had begun, or done and not handed over


def test_a_finished_clip_is_never_looked_at_again(place):
    names = ["a", "b", "bad1", "c"]
    made(place, labelled(place, names))
    before = content(place / "out")
    assert log(place) == ["a.mp4", "b.mp4", "bad1.mp4", "c.mp4"]
    made(place, labelled(place, names))  # a bad file is tried again: it may have been mended
    assert log(place)[4:] == ["bad1.mp4"]
    assert content(place / "out") == before
    made(place, labelled(place, ["new", *names]))  # more videos
    assert sorted(log(place)[5:]) == ["bad1.mp4", "new.mp4"]
    made(place, labelled(place, ["new", *names]), "fresh")
    assert content(place / "out") == content(place / "fresh")


def test_other_labels_are_taken_over_without_looking_at_videos(place):
    made(place, labelled(place, ["a", "b", "c"]))
    seen = len(log(place))
    made(place, labelled(place, ["c", "a", "b"], signers=["1", "2", "3"]))
    assert len(log(place)) == seen
    assert [row.clip for row in read_index(place / "out")] == ["c.mp4", "a.mp4", "b.mp4"]
    made(place, labelled(place, ["c", "a", "b"], signers=["1", "2", "3"]), "fresh")
    assert content(place / "out") == content(place / "fresh")


def test_a_changed_video_is_looked_at_again(place):
    listing = labelled(place, ["a", "b"])
    made(place, listing)
    os.utime(place / "videos" / "a.mp4", (5, 5))
    made(place, listing)
    assert log(place) == ["a.mp4", "b.mp4", "a.mp4"]


def test_signers_and_clips_on_both_sides_are_told(place):
    names = ["a", "b", "c", "d", "e", "f", "a-copy"]
    summary = made(place, labelled(place, names, signers=["1", "2", "9", "2", "3", "1", "8"]))
    text = " ".join(summary.warnings)
    assert "1 signer is both in train and in test, such as 2" in text
    assert "1 clips are both in train and in val, number for number, such as a.mp4 and a-copy.mp4" in text
    assert len(summary.warnings) == 2


def test_a_full_disk_is_told_and_what_is_finished_is_kept(place, monkeypatch):
    listing = labelled(place, ["a", "b", "c"])
    real, saved = Pose.save, []

    def save(self, path):
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(path)
        real(self, path)

    monkeypatch.setattr(Pose, "save", save)
    with pytest.raises(UserError, match=r"No space left on device\): what is finished is kept"):
        made(place, listing)
    monkeypatch.undo()
    monkeypatch.setenv("FINDER_LOG", str(place / "log2"))
    made(place, listing)
    assert (place / "log2").read_text().split() == ["c.mp4"]


def test_a_full_disk_at_the_end_leaves_the_old_version(place, monkeypatch):
    made(place, labelled(place, ["a"]))
    before = content(place / "out")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dsta.prepare.write._write_npy_header", full)
    with pytest.raises(UserError, match="make room"):
        made(place, labelled(place, ["a", "b"]))
    after = content(place / "out")
    assert {name: after[name] for name in before} == before
    assert [name for name in after if name.startswith(".new")] == []
    monkeypatch.undo()
    made(place, labelled(place, ["a", "b"]))
    assert len(read_index(place / "out")) == 2


@pytest.mark.parametrize("name", ["clips.npz", "val_data_joint.npy", "joints.npy"])
def test_a_folder_of_another_thing_is_refused(place, name):
    (place / "out").mkdir()
    (place / "out" / name).write_bytes(b"precious")
    with pytest.raises(UserError, match=f"holds {name}"):
        made(place, labelled(place, ["a"]))
    assert (place / "out" / name).read_bytes() == b"precious"


def test_clips_of_another_estimator_are_left_out(place):
    def find(item, fps):
        return pose_of(item.file.stem, estimator="hrnet-wholebody" if item.file.stem == "b" else "mediapipe-holistic")

    summary = made(place, labelled(place, ["a", "b", "c"]), find=find)
    assert summary.problems == [
        ("b.mp4", "Its keypoints are from hrnet-wholebody, most others from mediapipe-holistic: prepare it apart.")
    ]


@pytest.mark.slow
def test_a_dask_cluster_makes_the_same_bytes(place, cluster):
    listing = labelled(place, [*"abcdef", "bad1"])
    made(place, listing, "here")
    summary = made(place, listing, "there", scheduler=cluster.scheduler_address)
    assert content(place / "here") == content(place / "there")
    assert 1 <= len(summary.speed.peak_mb) <= 2
