"""A second run over a prepared folder: joints that were found once are neither lost nor looked for again."""

import csv
import json
import os
import shutil
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from helpers.finders import made_up, pose_of
from helpers.kill import killed_before_change

from dsta.common import UserError
from dsta.data import read_clip_set
from dsta.data.prepared import Prepared
from dsta.prepare import build_dataset
from dsta.prepare.__main__ import main
from dsta.prepare.library import Library
from dsta.prepare.lists import read_msasl, read_table


class Place:
    """A folder of files that hold no video, and data sets made of them. seen: what was looked at, run by run."""

    def __init__(self, folder):
        self.folder, self.out, self.videos = folder, folder / "out", folder / "videos"
        self.videos.mkdir()
        self.seen = []

    def listing(self, *names, gloss="g"):
        with (self.folder / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [("file", "gloss", "split"), *((f"{name}.mp4", gloss, "train") for name in names)]
            )
        return read_table(self.folder / "labels.csv", Library(self.videos))

    def files(self, *names):
        for name in names:
            path = self.videos / f"{name}.mp4"
            path.write_bytes(name.encode())
            os.utime(path, (1, 1))

    def run(self, *names, out=None, find=made_up, fps=25, **labels):
        looked = []

        def found(item, rate):
            looked.append(item.file.stem)
            return find(item, rate)

        listing = self.listing(*names, **labels)
        try:
            return build_dataset(listing, out or self.out, workers=1, find=found, fps=fps, progress=False)
        finally:
            self.seen.append("".join(looked))

    def clips(self):
        """What the folder holds, each clip's joints checked to be its own."""
        prepared = Prepared.read(self.out)
        for row, joints in zip(prepared.rows, prepared.clips(prepared.rows), strict=True):
            assert np.array_equal(joints, pose_of(row.clip.removesuffix(".mp4")).clip())
        return "".join(row.clip.removesuffix(".mp4") for row in prepared.rows)

    def unlisted(self):
        path = self.out / "unlisted.csv"
        return "".join(row["clip"][0] for row in csv.DictReader(path.open())) if path.exists() else ""

    def content(self, out=None):
        folder = out or self.out
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.files(*"abcdefg", "bad1")
    return place


def test_clips_that_a_new_list_does_not_name_stay_available_and_come_back(place):
    assert place.run(*"abcd").warnings == []
    summary = place.run("e", "f")
    assert place.clips() == "ef"
    assert summary.problems == []
    (note,) = summary.warnings
    assert note.startswith("4 clips that were found before are not in the data set now, such as a.mp4:")
    assert str(place.out / "unlisted.npy") in note
    assert read_clip_set(place.out, "train").names == ("e.mp4", "f.mp4")
    assert place.run("f", "a", "g").warnings[0].startswith("4 clips")  # b, c, d, and now e
    assert place.clips() == "fag"
    assert place.run(*"abcdefg").warnings == []
    assert place.clips() == "abcdefg"
    assert place.seen == ["abcd", "ef", "g", ""]  # each once
    place.run(*"abcdefg", out=place.folder / "fresh")
    assert place.content() == place.content(place.folder / "fresh")


def test_what_the_list_does_not_name_changes_nothing_of_the_data_set(place):
    """Neither its numbers nor the hashes by which results name it."""
    place.run(*"abcd")
    place.run("b", "d")
    place.run("b", "d", out=place.folder / "fresh")
    mine, fresh = place.content(), place.content(place.folder / "fresh")
    for name in ("joints.npy", "index.csv", "report.csv"):
        assert mine[name] == fresh[name]
    assert set(mine) - set(fresh) == {"unlisted.npy", "unlisted.csv"}
    about = [json.loads(content["dataset.json"]) for content in (mine, fresh)]
    assert [one.pop("unlisted") for one in about] == [2, 0]
    assert about[0] == about[1]


def test_unlisted_clips_that_are_deleted_are_looked_for_again(place):
    place.run("a", "b")
    place.run("b")
    for name in ("unlisted.npy", "unlisted.csv"):
        (place.out / name).unlink()
    assert place.run("b").warnings == []
    place.run("a", "b")
    assert place.clips() == "ab"
    assert place.seen == ["ab", "", "", "a"]


def test_other_labels_do_not_matter_to_unlisted_clips(place):
    place.run("a", "b", gloss="old")
    place.run("c", gloss="new")
    place.run("a", "c", gloss="new")
    assert place.seen == ["ab", "c", ""]
    assert place.clips() == "ac"
    assert {row.gloss for row in Prepared.read(place.out).rows} == {"new"}


def test_a_clip_stays_when_its_file_goes_and_costs_nothing_when_it_is_back(place):
    place.run(*"abc")
    before = place.content()
    aside = shutil.move(place.videos / "b.mp4", place.folder / "b.mp4")
    summary = place.run(*"abc")
    assert summary.problems == []
    assert summary.warnings == ["1 clips whose file is not there now stay as they were found before, such as b.mp4."]
    assert place.content() == before
    assert place.run(*"abc", gloss="other").prepared.rows[1].gloss == "other"  # the labels are the list's
    assert place.clips() == "abc"
    shutil.move(aside, place.videos)
    assert place.run(*"abc").warnings == []
    assert place.content() == before
    assert place.seen == ["abc", "", "", ""]


def test_an_unlisted_clip_whose_file_went_comes_back(place):
    place.run(*"abc")
    place.run("c")
    (place.videos / "a.mp4").unlink()
    place.run("a", "c")
    assert place.clips() == "ac"
    assert place.seen == ["abc", "", ""]


def test_a_clip_without_file_that_was_never_found_is_missing(place):
    place.run("a")
    assert place.run("a", "z").problems == [("z.mp4", "No video or keypoint file of that name is in the folder.")]


def test_another_rate_takes_nothing_by_name_and_loses_nothing(place):
    place.run("a", "b")
    aside = shutil.move(place.videos / "a.mp4", place.folder / "a.mp4")
    summary = place.run("a", "b", fps=12)
    assert [name for name, _ in summary.problems] == ["a.mp4"]
    assert summary.warnings[0].startswith("1 clips that were found before are not in the data set now, such as a.mp4")
    assert [name for name, _ in place.run("a", "b", fps=12).problems] == ["a.mp4"]  # nor from the unlisted ones
    shutil.move(aside, place.videos)
    place.run("a", "b")
    assert place.seen == ["ab", "b", "", "b"]


def test_of_unlisted_clips_of_several_rates_each_is_taken_by_name_at_its_own(place):
    place.run("a", "b")
    place.run("c", fps=12)
    place.run("d", fps=12)  # now a and b of 25 frames a second are unlisted, and c of 12
    for name in "ac":
        (place.videos / f"{name}.mp4").unlink()
    assert [name for name, _ in place.run("d", "a", fps=12).problems] == ["a.mp4"]
    assert [name for name, _ in place.run("b", "c", fps=25).problems] == ["c.mp4"]
    assert place.run("c", fps=12).problems == []
    assert place.run("a", fps=25).problems == []
    assert place.clips() == "a"
    assert place.seen == ["ab", "c", "d", "", "", "", ""]  # what has its file is known whatever the rate of others


def test_two_files_of_a_name_are_a_problem_and_the_joints_stay_available(place):
    place.run("a", "b")
    other = place.videos / "deep" / "b.mp4"
    other.parent.mkdir()
    shutil.move(place.videos / "b.mp4", other)
    shutil.copy2(other, place.videos / "sub.mp4")
    place.run("a", "b")
    (place.videos / "more").mkdir()
    shutil.copy2(other, place.videos / "more" / "b.mp4")
    ((name, reason),) = place.run("a", "b").problems
    assert (name, "Several files" in reason) == ("b.mp4", True)
    shutil.rmtree(place.videos / "more")
    assert place.run("a", "b").problems == []
    assert place.seen == ["ab", "", "", ""]


def test_a_changed_file_takes_the_place_of_what_was_found(place):
    place.run("a", "b")
    os.utime(place.videos / "a.mp4", (5, 5))
    assert place.run("a", "b").warnings == []
    assert place.seen == ["ab", "a"]
    assert not (place.out / "unlisted.npy").exists()


def test_what_was_found_of_a_file_that_is_bad_now_stays_available(place):
    place.run("a", "b")
    good = (place.videos / "a.mp4").read_bytes()
    (place.videos / "a.mp4").write_bytes(b"half")

    def fails(item, fps):
        raise UserError("It is half a video.")

    assert place.run("a", "b", find=fails).problems == [("a.mp4", "It is half a video.")]
    (place.videos / "a.mp4").write_bytes(good)
    os.utime(place.videos / "a.mp4", (1, 1))
    assert place.run("a", "b").warnings == []
    assert place.seen == ["ab", "a", ""]


def test_what_an_interrupted_run_found_for_another_list_is_kept(place, monkeypatch):
    def stops(item, fps):
        if item.file.stem == "c":
            raise KeyboardInterrupt
        return made_up(item, fps)

    with pytest.raises(KeyboardInterrupt):
        place.run(*"abcd", find=stops)
    summary = place.run("e", "bad1")
    (note,) = summary.warnings
    assert note.startswith("2 more clips were found that are not in the data set")
    assert sorted(path.suffix for path in (place.out / ".parts").iterdir()) == [".npz", ".npz"]  # no problem is kept
    assert place.run(*"abcde").warnings == []
    assert place.seen == ["abc", "ebad1", "cd"]
    assert not (place.out / ".parts").exists()


def test_clips_of_another_estimator_are_not_found_again(place):
    def find(item, fps):
        return pose_of(item.file.stem, estimator="hrnet-wholebody" if item.file.stem == "b" else "mediapipe-holistic")

    for _ in range(2):
        assert [name for name, _ in place.run(*"abc", find=find).problems] == ["b.mp4"]
    assert place.seen == ["abc", ""]


def restore(place, before):
    shutil.rmtree(place.out)
    shutil.copytree(before, place.out)
    place.seen.clear()


@pytest.mark.parametrize(
    ("names", "unlisted"),
    [("ace", "bd"), ("abcde", ""), ("cdef", "ab")],
    ids=["one comes back and one goes", "all come back", "one is new"],
)
def test_killed_before_any_change_of_a_file_no_joints_are_lost(place, names, unlisted):
    place.run(*"abcd")
    place.run(*"cde")  # a and b are unlisted
    before = shutil.copytree(place.out, place.folder / "before")
    place.run(*names)
    whole, looked_twice = place.content(), 0
    for i in count(1):
        restore(place, before)
        with killed_before_change(i) as outcome:
            place.run(*names)
        if not outcome.killed:
            break
        place.run(*names)
        assert place.content() == whole
        assert place.unlisted() == unlisted
        place.run(*"abcde")
        assert place.clips() == "abcde"
        looked = "".join(place.seen)
        assert set(looked) <= {"f"}  # what was found before is not looked for again
        looked_twice += len(looked) > 1
    assert i > 10
    assert looked_twice <= 2  # killed before its joints had a file


def test_killed_and_then_asked_for_another_list_no_joints_are_lost(place):
    place.run(*"abcd")
    place.run(*"cde")
    before = shutil.copytree(place.out, place.folder / "before")
    for i in count(1):
        restore(place, before)
        with killed_before_change(i) as outcome:
            place.run(*"af")
        if not outcome.killed:
            break
        place.seen.clear()
        place.run("b")
        assert not ("f" in place.unlisted() and (place.out / ".parts").exists())  # in one place, and told once
        place.run(*"abcde")
        assert place.clips() == "abcde"
        assert place.seen == ["", ""]
    assert i > 10


DAMAGES = {
    "empty": lambda content: b"",
    "garbage": lambda content: b"\xff\xfe{",
    "cut within a row": lambda content: content[:-20],
    "a row short": lambda content: content[: content[:-1].rindex(b"\n") + 1],
    "missing": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name", ["index.csv", "dataset.json", "joints.npy", "unlisted.csv", "unlisted.npy", ".kept/index.csv"]
)
def test_a_damaged_folder_is_refused_and_left_as_it_is(place, name, damage):
    earlier_version(place, kept="g", listed="g")
    shutil.copytree(place.out / ".kept", place.folder / "kept")
    shutil.rmtree(place.out)
    place.run(*"abcd")
    place.run(*"cd")
    shutil.copytree(place.folder / "kept", place.out / ".kept")
    path = place.out / name
    if DAMAGES[damage] is None:
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    before = place.content()
    with pytest.raises(UserError, match=r"restore it|copy it again|give another --out") as caught:
        place.run(*"cde")
    assert str(place.out) in str(caught.value)
    assert place.content() == before
    assert place.seen[-1] == ""  # it is said before any video is looked at


def earlier_version(place, kept, listed):
    """A folder as this program wrote it when it put the clips that the list does not name into `.kept/`."""
    for names, folder in ((kept, place.folder / "kept"), (listed, place.out)):
        place.run(*names, out=folder)
        about = json.loads((folder / "dataset.json").read_text())
        del about["unlisted"]
        (folder / "dataset.json").write_text(json.dumps(about))
    shutil.move(place.folder / "kept", place.out / ".kept")
    place.seen.clear()


def test_clips_that_an_earlier_version_kept_are_taken_over(place):
    earlier_version(place, kept="abc", listed="cd")
    (place.videos / "a.mp4").unlink()
    assert place.run("c", "d").warnings[0].startswith("2 clips that were found before are not in the data set now")
    assert place.unlisted() == "ab"
    assert not (place.out / ".kept").exists()
    place.run(*"abcd")
    assert place.clips() == "abcd"
    assert place.seen == ["", ""]


def test_killed_before_any_change_of_a_file_what_an_earlier_version_kept_is_not_lost(place):
    earlier_version(place, kept="abc", listed="cd")
    before = shutil.copytree(place.out, place.folder / "before")
    for i in count(1):
        restore(place, before)
        with killed_before_change(i) as outcome:
            place.run("a", "d")
        if not outcome.killed:
            break
        place.run(*"abcd")
        assert place.clips() == "abcd"
        assert set(place.seen) == {""}
    assert i > 10


def test_what_an_earlier_version_had_just_written_is_finished_and_what_it_kept_stays(place):
    earlier_version(place, kept="ab", listed="cd")
    files = ["joints.npy", "index.csv", "dataset.json"]
    (place.out / ".new").mkdir()
    for name in files:
        shutil.move(place.out / name, place.out / ".new" / name)
    (place.out / ".kept" / ".new").mkdir()
    (place.out / ".kept" / "dataset.json").rename(place.out / ".kept" / ".new" / "dataset.json")
    place.run(*"abcd")
    assert place.clips() == "abcd"
    assert place.seen == [""]


def test_joints_are_read_as_they_were_while_others_take_their_place(place):
    place.run(*"abcdefg")
    place.run("g")
    place.run("f", "d", "b")  # three come back, one goes
    assert place.clips() == "fdb"
    place.run(*"gfedcba")
    assert place.clips() == "gfedcba"
    assert place.seen == ["abcdefg", "", "", ""]


def test_of_several_clips_of_a_name_each_keeps_its_joints(tmp_path):
    """MS-ASL lists some clips twice, with other boxes or labels."""
    clip = {
        "url": "https://www.youtube.com/watch?v=aaaaaaaaaaa",
        "start_time": 2.5,
        "end_time": 4.0,
        "start": 75,
        "end": 120,
        "fps": 30.0,
        "text": "five",
        "label": 5,
        "signer_id": 1,
        "box": [0.1, 0.2, 0.9, 0.6],
    }
    other = {**clip, "box": [0.1, 0.5, 0.9, 0.9]}
    for split, clips in {"train": [clip], "val": [], "test": [other]}.items():
        (tmp_path / f"MSASL_{split}.json").write_text(json.dumps(clips))
    classes = [f"class {i}" for i in range(1000)]
    (tmp_path / "MSASL_classes.json").write_text(json.dumps(classes))
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "aaaaaaaaaaa.mp4").touch()
    (videos / "other.mp4").touch()

    def find(item, fps):
        return pose_of(str(item.box))

    def run():
        listing = read_msasl(tmp_path, 100, Library(videos))
        build_dataset(listing, tmp_path / "out", workers=1, find=find, progress=False)
        return (tmp_path / "out" / "joints.npy").read_bytes(), (tmp_path / "out" / "index.csv").read_bytes()

    before = run()
    (videos / "aaaaaaaaaaa.mp4").unlink()
    assert run() == before
    (tmp_path / "MSASL_test.json").write_text("[]")  # one of the two goes and comes back
    assert run() != before
    (tmp_path / "MSASL_test.json").write_text(json.dumps([other]))
    assert run() == before


def test_a_name_from_a_list_of_another_kind_is_not_taken(place):
    """In WLASL a name means a part and a box, in a table of one's own a file."""
    place.run("a", "b")
    (place.videos / "a.mp4").unlink()
    listing = replace(place.listing("a", "b"), name="WLASL100")
    summary = build_dataset(listing, place.out, workers=1, find=made_up, fps=25, progress=False)
    assert [name for name, _ in summary.problems] == ["a.mp4"]
    assert place.clips() == "b"
    place.run("a", "b")
    assert place.clips() == "ab"


def test_the_command_line_says_what_became_of_earlier_clips(tmp_path, capsys):
    videos, labels = tmp_path / "videos", tmp_path / "labels.csv"
    videos.mkdir()
    for name in "abc":
        pose_of(name).save(videos / f"{name}.npz")
    call = [str(videos), "--labels", str(labels), "--out", str(tmp_path / "out"), "--workers", "1"]
    labels.write_text("file,gloss,split\na,yes,train\nb,no,train\n")
    assert main(call) == 0
    labels.write_text("file,gloss,split\nc,yes,train\n")
    assert main(call) == 0
    assert "2 clips that were found before are not in the data set now" in capsys.readouterr().err
    labels.write_text("file,gloss,split\na,yes,val\nb,no,val\n")
    for name in "ab":
        (videos / f"{name}.npz").unlink()
    assert main(call) == 0  # no file of the list is there, and none is needed
    assert "2 clips whose file is not there now" in capsys.readouterr().err
    assert [row.split for row in Prepared.read(tmp_path / "out").rows] == ["val", "val"]
    labels.write_text("file,gloss,split\na,yes,val\nz,no,val\n")
    assert main(call) == 2
    assert "1 of 2 clips could not be prepared (1 have no file)" in capsys.readouterr().err
    labels.write_text("file,gloss,split\nz,no,val\n")
    assert main(call) == 2
    assert "None of the 1 clips could be prepared, such as z: No video" in capsys.readouterr().err
    assert [row.clip for row in Prepared.read(tmp_path / "out").rows] == ["a"]
