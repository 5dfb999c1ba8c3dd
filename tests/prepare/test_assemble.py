"""A second run over a prepared folder: joints that were found once are neither lost nor looked for again."""

import json
import os
import shutil

import pytest
from helpers.finders import made_up, pose_of
from helpers.kill import each_kill

from dsta.common import UserError
from dsta.data import read_clip_set
from dsta.prepare import build_dataset
from dsta.prepare.library import Library
from dsta.prepare.lists import read_msasl


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


def test_a_clip_stays_when_its_file_goes_and_costs_nothing_when_it_is_back(place):
    place.run(*"abc")
    before = place.content()
    aside = shutil.move(place.videos / "b.mp4", place.folder / "b.mp4")
    summary = place.run(*"abc")
    assert summary.problems == []
    assert summary.warnings == ["1 clips whose file is not there now stay as they were found before, such as b.mp4."]
    assert place.content() == before
    rows = place.run(*"abc", glosses=["other"]).prepared.rows
    assert {row.gloss for row in rows} == {"other"}  # the labels are the list's
    assert place.clips() == "abc"
    shutil.move(aside, place.videos)
    assert place.run(*"abc").warnings == []
    assert place.content() == before
    assert place.seen == ["abc", "", "", ""]


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
    assert [name for name, _ in place.run("b", "c").problems] == ["c.mp4"]
    assert place.run("c", fps=12).problems == []
    assert place.run("a").problems == []
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


def test_clips_of_another_estimator_are_left_out_and_not_looked_for_again(place):
    def find(item, fps):
        return pose_of(item.file.stem, estimator="hrnet-wholebody" if item.file.stem == "b" else "mediapipe-holistic")

    for _ in range(2):
        assert place.run(*"abc", find=find).problems == [
            ("b.mp4", "Its keypoints are from hrnet-wholebody, most others from mediapipe-holistic: prepare it apart.")
        ]
    assert place.seen == ["abc", ""]


@pytest.mark.parametrize(
    ("names", "unlisted"),
    [("ace", "bd"), ("abcde", ""), ("cdef", "ab")],
    ids=["one comes back and one goes", "all come back", "one is new"],
)
def test_killed_before_any_change_of_a_file_no_joints_are_lost(place, names, unlisted):
    place.run(*"abcd")
    place.run(*"cde")  # a and b are unlisted
    ends, looked_twice = [], 0
    place.seen.clear()
    for _ in each_kill(place.out, lambda: place.run(*names)):
        place.run(*names)
        ends.append(place.content())
        assert place.unlisted() == unlisted
        place.run(*"abcde")
        assert place.clips() == "abcde"
        looked = "".join(place.seen)
        assert set(looked) <= {"f"}  # what was found before is not looked for again
        looked_twice += len(looked) > 1
        place.seen.clear()
    assert all(end == place.content() for end in ends)
    assert looked_twice <= 3  # killed before its joints had a file: before the folder, the writing and the renaming


def test_killed_and_then_asked_for_another_list_no_joints_are_lost(place):
    place.run(*"abcd")
    place.run(*"cde")
    for _ in each_kill(place.out, lambda: place.run(*"af")):
        place.seen.clear()
        place.run("b")
        assert not ("f" in place.unlisted() and (place.out / ".parts").exists())  # in one place, and told once
        place.run(*"abcde")
        assert place.clips() == "abcde"
        assert place.seen == ["", ""]


DAMAGES = {
    "empty": lambda content: b"",
    "garbage": lambda content: b"\xff\xfe{",
    "cut within a row": lambda content: content[:-20],
    "a row short": lambda content: content[: content[:-1].rindex(b"\n") + 1],
    "missing": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["index.csv", "dataset.json", "joints.npy", "unlisted.csv", "unlisted.npy"])
def test_a_damaged_folder_is_refused_and_left_as_it_is(place, name, damage):
    place.run(*"abcd")
    place.run(*"cd")
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


def test_what_an_earlier_version_kept_is_left_as_it_is_and_told(place):
    """It put the clips that the list does not name into `.kept/`, a prepared folder."""
    place.run(*"ab", out=place.out / ".kept")
    kept = place.content()
    (note,) = place.run("c").warnings
    assert note.startswith(f"{place.out / '.kept'} holds clips that an earlier version of this program put there")
    assert {name: place.content()[name] for name in kept} == kept
    assert read_clip_set(place.out / ".kept", "train").names == ("a.mp4", "b.mp4")


def test_what_an_earlier_version_had_just_written_is_finished(place):
    place.run(*"abcd")
    place.run(*"cd")
    about = json.loads((place.out / "dataset.json").read_text())
    del about["unlisted"]  # of which it knew nothing
    (place.out / ".new").mkdir()
    for name in ("joints.npy", "index.csv"):
        shutil.move(place.out / name, place.out / ".new" / name)
    (place.out / ".new" / "dataset.json").write_text(json.dumps(about))
    place.run(*"abcd")
    assert place.clips() == "abcd"
    assert place.seen == ["abcd", "", ""]


def test_of_several_clips_of_a_name_each_keeps_its_joints(place, msasl):
    """MS-ASL lists some clips twice, with other boxes or labels."""
    place.files("aaaaaaaaaaa")
    other = {"box": [0.1, 0.5, 0.9, 0.9]}

    def run(*test):
        listing = read_msasl(msasl(train=[{}], test=test), 100, Library(place.videos))
        build_dataset(listing, place.out, workers=1, find=lambda item, fps: pose_of(str(item.box)))
        return (place.out / "joints.npy").read_bytes(), (place.out / "index.csv").read_bytes()

    before = run(other)
    (place.videos / "aaaaaaaaaaa.mp4").unlink()
    assert run(other) == before
    assert run() != before  # one of the two goes and comes back
    assert run(other) == before


def test_a_name_from_a_list_of_another_kind_is_not_taken(place):
    """In WLASL a name means a part and a box, in a table of one's own a file."""
    place.run("a", "b")
    (place.videos / "a.mp4").unlink()
    assert [name for name, _ in place.run("a", "b", benchmark="WLASL100").problems] == ["a.mp4"]
    assert place.clips() == "b"
    place.run("a", "b")
    assert place.clips() == "ab"
