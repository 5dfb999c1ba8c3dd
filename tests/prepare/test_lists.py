"""Label tables and the official lists: what is read, what is found, and what is said."""

import json
from pathlib import Path

import pytest

from dsta.common import UserError
from dsta.data import clip_key, official
from dsta.prepare.library import Library, ListedClip
from dsta.prepare.lists import read_msasl, read_table, read_wlasl


@pytest.fixture
def videos(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / "videos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return Library(tmp_path / "videos")

    return make


def table(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_of_labels(tmp_path, videos):
    library = videos("a.mp4", "deep/b.webm", "c.mkv", "left.mov", "notes.txt")
    labels = "\ufefffile,gloss,split,signer,source\na.mp4,où,train,7,web\ndeep/b.webm,yes,val,,\nc,yes,test,8,\n"
    listing = read_table(table(tmp_path, labels), library)
    root = tmp_path / "videos"
    assert listing.available == [
        ListedClip("a.mp4", "où", "train", root / "a.mp4", "7", "web"),
        ListedClip("deep/b.webm", "yes", "val", root / "deep" / "b.webm"),
        ListedClip("c", "yes", "test", root / "c.mkv", "8"),
    ]
    assert listing.glosses == ["où", "yes"]
    assert (listing.missing, listing.unlabelled, listing.name) == ([], 1, "")


def test_a_file_is_found_by_name_in_any_folder_and_with_another_ending(tmp_path, videos):
    library = videos("x/a.avi", "x/b.mp4", "y/b.mp4", "c.mp4", "c.npz")
    rows = "file,gloss,split\na.mp4,g,train\nb.mp4,g,train\ny/b.mp4,g,train\nc,g,val\nd.mp4,g,test\n../c.mp4,g,test\n"
    listing = read_table(table(tmp_path, rows), library)
    found = {item.clip: item.file.relative_to(tmp_path / "videos").as_posix() for item in listing.available}
    assert found == {"a.mp4": "x/a.avi", "y/b.mp4": "y/b.mp4", "c": "c.npz"}
    missing = {clip.clip: clip.problem for clip in listing.missing}
    assert set(missing) == {"b.mp4", "d.mp4", "../c.mp4"}
    assert "x/b.mp4 and y/b.mp4" in missing["b.mp4"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is missing"),
        ("file,gloss\na.mp4,g\n", "lacks the column split"),
        ("", "lacks the column file and gloss and split"),
        ("file,gloss,split\n", "no rows"),
        ("file,gloss,split\na.mp4,,train\n", "no gloss in line 2"),
        ("file,gloss,split\na.mp4,g,train\nb.mp4,g,dev\n", "'dev' in line 3"),
        ("file,gloss,split\na.mp4,g,train\na.mp4,h,train\n", "labels a.mp4 twice"),
        (b"file,gloss,split\na.mp4,o\xf9,train\n", "cannot be read"),
        ("file;gloss;split\na.mp4;g;train\n", "separated by semicolons"),
        ("file,gloss,split\n\na.mp4,,train\n", "no gloss in line 3"),
        ("file,gloss,split\na.mp4,g,train\n./a.mp4,h,train\n", r"labels \./a\.mp4 twice.* \(line 3, as a\.mp4 too\)"),
        ("file,gloss,split\na,g,train\na.mp4,g,test\n", r"labels a\.mp4 twice"),
        ("file,gloss,split\na.mp4,g,train\nlink.mp4,h,train\n", r"labels link\.mp4 twice"),
    ],
)
def test_a_table_that_cannot_be_meant_is_told(tmp_path, videos, text, words):
    path = tmp_path / "none.csv" if text is None else table(tmp_path, text)
    videos("a.mp4", "b.mp4")
    (tmp_path / "videos" / "link.mp4").symlink_to("a.mp4")
    with pytest.raises(UserError, match=words):
        read_table(path, Library(tmp_path / "videos"))


def test_one_word_in_two_forms_of_unicode_is_one(tmp_path, videos):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    rows = f"file,gloss,split\n{composed}.mp4,{composed},train\nsub/{composed}.mp4,{decomposed},train\n"
    listing = read_table(table(tmp_path, rows), videos(f"{decomposed}.mp4", f"sub/{decomposed}.mp4"))
    assert len(listing.available) == 2 and listing.glosses == [composed]


def test_files_of_any_ending_are_found_and_known_ones_go_first(tmp_path, videos):
    library = videos("a.mts", "b.3gp", "c.wmv", "c.mp4", "h", "n.txt", "n.json", "o.bin")
    rows = "".join(f"{name},g,train\n" for name in ("a", "b", "c", "h", "n", "o.bin"))
    listing = read_table(table(tmp_path, f"file,gloss,split\n{rows}"), library)
    assert [clip.file.name for clip in listing.available] == ["a.mts", "b.3gp", "c.mp4", "h", "o.bin"]
    assert [clip.clip for clip in listing.missing] == ["n"] and listing.unlabelled == 0


def test_linked_folders_are_searched_and_circles_are_none(tmp_path, videos):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.mp4").touch()
    videos("a.mp4")
    (tmp_path / "videos" / "all").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos" / "all" / "back").symlink_to(tmp_path / "videos")
    rows = "file,gloss,split\nb.mp4,g,train\nall/b.mp4,g,train\na.mp4,g,train\n"
    listing = read_table(table(tmp_path, rows), Library(tmp_path / "videos"))
    assert [clip.clip for clip in listing.available] == ["b.mp4", "a.mp4"] and listing.unlabelled == 0


def test_glosses_that_look_alike_are_said(tmp_path, videos):
    rows = "file,gloss,split\na.mp4,Hello,train\nb.mp4,hello,train\nc.mp4,thank  you,train\nd.mp4,thank you,train\n"
    (note,) = read_table(table(tmp_path, rows), videos("a.mp4", "b.mp4", "c.mp4", "d.mp4")).notes
    assert "'Hello', 'hello'; 'thank  you', 'thank you'" in note


def test_the_same_line_twice_counts_once_and_is_said(tmp_path, videos):
    rows = "file,gloss,split\na.mp4,g,train\n./a.mp4,g,train\n"
    listing = read_table(table(tmp_path, rows), videos("a.mp4"))
    assert len(listing.available) == 1
    assert "1 files twice" in listing.notes[0]


def test_a_folder_that_is_not_there_or_holds_nothing_is_told(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        Library(tmp_path / "none")
    with pytest.raises(UserError, match="holds no files"):
        Library(tmp_path)


def wlasl(tmp_path, glosses=100, **changes):
    """A list of the official form: two clips a gloss."""
    entries = [
        {
            "gloss": f"g{i}",
            "instances": [
                {
                    "bbox": [10, 20, 110, 240],
                    "fps": 25,
                    "frame_start": 1,
                    "frame_end": -1,
                    "signer_id": i,
                    "source": "aslu",
                    "split": ("train", "test")[j],
                    "url": f"https://www.youtube.com/watch?v=tube{i:03}_{j:03}",
                    "video_id": f"{i:04}{j}",
                }
                for j in range(2)
            ],
        }
        for i in range(glosses)
    ]
    entries[3]["instances"][1] |= changes
    path = tmp_path / "WLASL.json"
    path.write_text(json.dumps(entries))
    return path


def test_wlasl(tmp_path, videos):
    library = videos("00000.mp4", "sub/00001.mkv", "tube003_001.mp4", "Title [tube004_000].webm", "other.mp4")
    listing = read_wlasl(wlasl(tmp_path, 101, frame_start=51, frame_end=100), 100, library)
    assert (listing.name, len(listing.glosses), listing.unlabelled) == ("WLASL100", 100, 1)
    assert [item.clip for item in listing.available] == ["00000", "00001", "00031", "00040"]
    assert len(listing.missing) == 196
    whole, _, part, _ = listing.available
    assert (whole.gloss, whole.split, whole.signer, whole.source) == ("g0", "train", "0", "aslu")
    assert (whole.start, whole.end, whole.box, whole.box_in_pixels) == (0, None, (10, 20, 110, 240), True)
    assert (part.start, part.end) == (2.0, 4.0)  # frames 51 to 100 of 25 a second, the last one included


@pytest.mark.parametrize(
    ("subset", "text", "words"),
    [
        (50, None, "no WLASL50"),
        (300, None, "no list of 300 glosses"),
        (100, "{}", "must hold a list"),
        (100, "[]", "no list of 100"),
        (100, "[", "is not JSON"),
        (100, json.dumps([{"gloss": "g"}] * 100), "not in the format"),
        (100, json.dumps([{"gloss": "g", "instances": [{"video_id": "1"}]}] * 100), "not in the format"),
    ],
)
def test_a_list_that_is_not_wlasl_is_told(tmp_path, videos, subset, text, words):
    path = wlasl(tmp_path)
    if text:
        path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_wlasl(path, subset, videos("a.mp4"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fps": float("nan")}, "fps is NaN"),
        ({"fps": -25}, "clip 2 of the gloss g3: its fps is -25"),
        ({"frame_start": ""}, "clip 2 of the gloss g3: invalid"),
        ({"frame_start": 51, "frame_end": 40}, "ends with frame 40, before it begins with frame 51"),
        ({"split": "dev"}, "its split is 'dev'"),
        ({"bbox": [1, 2, 3]}, "clip 2 of the gloss g3"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_named(tmp_path, videos, changes, words):
    with pytest.raises(UserError, match=words):
        read_wlasl(wlasl(tmp_path, **changes), 100, videos("a.mp4"))


@pytest.mark.parametrize("times", [{"end_time": 2.5}, {"start_time": -1}, {"start_time": None, "start": 130}])
def test_a_clip_of_msasl_that_ends_before_it_begins_is_named(msasl, videos, times):
    with pytest.raises(UserError, match=r"MSASL_val\.json .* \(entry 2: it goes from"):
        read_msasl(msasl(val=[{}, times]), 100, videos("aaaaaaaaaaa.mp4"))


def test_msasl(msasl, videos):
    other = {"url": "www.youtube.com/watch?v=bbbbbbbbbbb", "label": 7, "text": "seven", "signer_id": -1}
    beyond = {"label": 100, "text": "hundred"}
    lists = msasl(train=[{}, {}, beyond], val=[other], test=[other | {"url": "https://youtu.be/ccccccccccc"}])
    listing = read_msasl(lists, 100, videos("aaaaaaaaaaa.mp4", "cut/bbbbbbbbbbb_75_120.mp4"))
    assert (listing.name, len(listing.glosses)) == ("MSASL100", 100)
    assert (listing.glosses[0], listing.glosses[5], listing.glosses[7]) == ("class 0", "five", "seven")
    first, again, cut = listing.available
    assert first == again
    assert "1 clips twice" in listing.notes[0]
    assert (first.clip, first.gloss, first.split, first.signer) == ("aaaaaaaaaaa_75_120", "five", "train", "12")
    assert (first.start, first.end) == (2.5, 4.0)
    assert (first.box, first.box_in_pixels) == ((0.2, 0.1, 0.6, 0.9), False)  # left, top, right, bottom
    assert (cut.clip, cut.split, cut.signer, cut.start, cut.end) == ("bbbbbbbbbbb_75_120", "val", "", 0, None)
    assert [clip.clip for clip in listing.missing] == ["ccccccccccc_75_120"]


def test_msasl_without_times_goes_by_frames_and_without_rates_is_told(msasl, videos):
    library = videos("aaaaaaaaaaa.mp4")
    by_frames = read_msasl(msasl(train=[{"start_time": None}]), 100, library).available[0]
    assert (by_frames.start, by_frames.end) == (2.5, 4.0)
    listing = read_msasl(msasl(train=[{"start_time": None, "fps": None}]), 100, library)
    assert not listing.available
    assert "frame rate" in listing.missing[0].problem


def test_msasl_that_is_none_is_told(msasl, videos):
    library, folder = videos("aaaaaaaaaaa.mp4"), msasl(train=[{}])
    (folder / "MSASL_val.json").write_text('[{"label": "x"}]')
    with pytest.raises(UserError, match=r"MSASL_val\.json is not in the format"):
        read_msasl(folder, 100, library)
    (folder / "MSASL_val.json").unlink()
    with pytest.raises(UserError, match=r"MSASL_val\.json is missing"):
        read_msasl(folder, 100, library)
    with pytest.raises(UserError, match="no MSASL300"):
        read_msasl(folder, 300, library)


def test_names_are_those_of_the_official_facts(msasl, videos):
    name, entry = next(iter(official("MSASL100").items()))
    video, start, end = name.rsplit("_", 2)
    clip = {"url": f"https://www.youtube.com/watch?v={video}", "start": int(start), "end": int(end)}
    lists = msasl(train=[clip | {"label": entry.label, "text": entry.gloss}])
    assert official("MSASL100")[clip_key(read_msasl(lists, 100, videos(f"{video}.mp4")).available[0].clip)] == entry


def test_keypoints_come_before_videos(tmp_path, videos):
    listing = read_wlasl(wlasl(tmp_path), 100, videos("00000.mp4", "00000.npz"))
    assert listing.available[0].file == Path(tmp_path / "videos" / "00000.npz")
    assert listing.unlabelled == 0
