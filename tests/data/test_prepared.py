"""The prepared folder: written whole or not at all, read as it was written, refused when it does not fit."""

import hashlib
import json
import pickle
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from helpers.benchmarks import network, wlasl100
from helpers.finders import pose_of
from helpers.kill import each_kill
from helpers.tables import run, table

from dsta.common import UserError
from dsta.data import dataset, official, read_clip_set
from dsta.data.prepared import IndexRow, Prepared, UnlistedRow
from dsta.prepare.write import filled, finish_replacing, write_prepared, write_upstream
from dsta.skeleton import NUM_JOINTS
from eval.doctor import examine

GLOSSES = ["no", "yes", "zebra"]
ABOUT = {"dataset": "", "fps": 25.0, "estimator": "mediapipe-holistic", "glosses": GLOSSES}


def row(name, gloss="yes", split="train", frames=None, signer="s1"):
    frames = frames or len(pose_of(name).keypoints)
    return IndexRow(name, gloss, split, signer, "web", 0, frames, 25.0, 640, 480, "mediapipe-holistic", 1.0, 0.9, name)


COLUMNS = ",".join(field.name for field in fields(IndexRow))
ROWS = [row("a", "zebra"), row("b", "no", "test", signer="s2"), row("c,d", "no", "val"), row("e", "yes", "test")]


def joints(row):
    return pose_of(row.clip).clip()


@pytest.fixture
def folder(tmp_path):
    write_prepared(tmp_path, ROWS, joints, ABOUT, [("x.mp4", "It is empty.")])
    return tmp_path


def test_what_is_written_is_read(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["dataset.json", "index.csv", "joints.npy", "report.csv"]
    array = np.load(folder / "joints.npy", mmap_mode="r")
    assert isinstance(array, np.memmap)
    assert array.dtype == np.float32
    assert np.array_equal(array, np.concatenate([joints(r) for r in ROWS]))
    prepared = Prepared.read(folder)
    assert [r.clip for r in prepared.rows] == ["a", "b", "c,d", "e"]
    assert [r.start for r in prepared.rows] == np.cumsum([0, *(r.frames for r in ROWS[:-1])]).tolist()
    about = json.loads((folder / "dataset.json").read_text())
    assert about["clips"] == {"test": 2, "train": 1, "val": 1}
    assert about["joints_sha256"] == hashlib.sha256((folder / "joints.npy").read_bytes()).hexdigest()
    assert (folder / "report.csv").read_text() == "file,reason\nx.mp4,It is empty.\n"


def test_a_split_is_held_with_its_labels_and_estimator(folder):
    held = read_clip_set(folder, "val+test")
    assert held.names == ("b", "c,d", "e")
    assert held.labels.tolist() == [0, 0, 1]
    assert held.glosses == tuple(GLOSSES)
    assert held.splits == ("test", "val", "test")
    assert held.sources == ("s2", "s1", "s1")
    assert held.estimator == "mediapipe-holistic"
    for name, clip in zip(held.names, pickle.loads(pickle.dumps(held.joints)), strict=True):
        assert np.array_equal(clip, pose_of(name).clip())
    assert read_clip_set(folder, "train").names == ("a",)
    assert read_clip_set(folder).names == ("c,d",)
    assert len(pickle.dumps(held.joints)) < 2000  # the file is mapped anew, not sent


def test_a_split_without_clips_and_signers_that_are_not_known(tmp_path):
    write_prepared(tmp_path, [row("a", signer="")], joints, ABOUT, [])
    assert read_clip_set(tmp_path, "train").sources == ()
    with pytest.raises(UserError, match="no clip of the split val"):
        read_clip_set(tmp_path, "val")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.csv", b""),
        ("index.csv", b"clip,gloss\na,b\n"),
        ("index.csv", f"{COLUMNS}\na,no,train,s,web,0,1,25.0,640,480,e,1.0,1.0\n".encode()),  # a column is cut off
        ("index.csv", b"\xff\xfe"),
        ("joints.npy", b"not an array"),
        ("dataset.json", b"{}"),
        ("dataset.json", b"["),
        ("dataset.json", b'{"format": 99, "estimator": "e", "glosses": []}'),
        *((name, None) for name in ("index.csv", "joints.npy", "dataset.json")),
    ],
)
def test_a_damaged_or_missing_file_is_told(folder, name, content):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        read_clip_set(folder)


def test_an_index_that_went_through_a_spreadsheet_is_read(folder):
    whole = (folder / "index.csv").read_bytes()
    (folder / "index.csv").write_bytes(b"\xef\xbb\xbf" + whole.replace(b"\n", b"\r\n") + b"," * 13 + b"\r\n")
    assert Prepared.read(folder).rows == replaced_starts(ROWS)


def replaced_starts(rows):
    starts = np.cumsum([0, *(row.frames for row in rows[:-1])]).tolist()
    return tuple(replace(row, start=start) for row, start in zip(rows, starts, strict=True))


@pytest.mark.parametrize(("old", "new"), [(",25.0,", ",nan,"), (",25.0,", ",,"), (",640,", ",640.5,"), (",", ";")])
def test_a_number_that_is_none_is_told_with_its_line(folder, old, new):
    lines = (folder / "index.csv").read_text().splitlines(keepends=True)
    place = slice(0, None) if new == ";" else slice(2, 3)
    lines[place] = [line.replace(old, new) for line in lines[place]]
    (folder / "index.csv").write_text("".join(lines))
    with pytest.raises(UserError, match="semicolons" if new == ";" else r"(fps|width) in line 3 is "):
        Prepared.read(folder)


def test_an_index_that_speaks_of_other_frames_or_glosses_is_told(folder):
    good = (folder / "index.csv").read_text()
    (folder / "index.csv").write_text(good.replace(",zebra,", ",lion,"))
    with pytest.raises(UserError, match="lion"):
        Prepared.read(folder)
    (folder / "index.csv").write_text(good)
    np.save(folder / "joints.npy", np.zeros((3, NUM_JOINTS, 3), np.float32))
    with pytest.raises(UserError, match="other frames"):
        Prepared.read(folder)
    np.save(folder / "joints.npy", np.zeros((300, NUM_JOINTS, 3)))
    with pytest.raises(UserError, match="float32"):
        Prepared.read(folder)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("unlisted", [0, 1])
def test_killed_before_any_change_of_a_file_the_next_writer_completes_it(tmp_path, unlisted):
    """With unlisted clips before and none afterwards, and the other way round."""
    earlier = UnlistedRow(**asdict(row("u")), listed_by="", max_fps=25.0)
    old = ROWS, joints, ABOUT, [("x.mp4", "It is empty.")], [earlier] * (1 - unlisted)
    new = [row("f"), row("g", "no", "val")], joints, ABOUT, [], [earlier] * unlisted
    write_prepared(tmp_path / "old", *old)
    write_prepared(tmp_path / "new", *new)
    before, after = content(tmp_path / "old"), content(tmp_path / "new")
    assert ("unlisted.npy" in before) != ("unlisted.npy" in after)
    folder, ends = tmp_path / "old", []
    for _ in each_kill(folder, lambda: write_prepared(folder, *new)):
        if not (folder / ".new" / "dataset.json").exists():
            Prepared.read(folder)  # the old version or the new one
        else:
            with pytest.raises(UserError, match="interrupted"):
                Prepared.read(folder)
        finish_replacing(folder)
        ends.append("old" if content(folder) == before else "new")
        assert content(folder) == (before if ends[-1] == "old" else after)
        assert not (folder / ".new").exists()
    assert ends == sorted(ends, reverse=True)  # from one kill on it is the new version
    assert ends.count("new") > 4
    assert "old" in ends


def test_a_short_clip_is_repeated_and_a_long_one_thinned_evenly():
    clip = np.arange(7)[:, None, None] * np.ones((1, NUM_JOINTS, 3), np.float32)
    assert filled(clip, 16)[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert filled(clip, 4)[:, 0, 0].tolist() == [0, 1, 3, 5]
    assert filled(clip, 7)[:, 0, 0].tolist() == list(range(7))


def test_upstreams_arrays_give_the_clips_back(folder, tmp_path):
    upstream = write_upstream(Prepared.read(folder))
    array = np.load(upstream / "test_data_joint.npy")
    assert (array.shape, array.dtype) == ((2, 3, 150, 27, 1), np.float32)
    assert pickle.loads((upstream / "test_label.pkl").read_bytes()) == (["b", "e"], [0, 1])
    assert array[:, :2].min() >= 0
    assert array[:, :2].max() <= 512
    for split, names in {"train": ("a",), "val": ("c,d",), "test": ("b", "e"), "val+test": ("c,d", "b", "e")}.items():
        held, mine = read_clip_set(upstream, split), read_clip_set(folder, split)
        assert held.names == names
        assert (held.glosses, held.estimator) == (mine.glosses, mine.estimator)
        assert dict(zip(held.names, held.labels, strict=True)) == dict(zip(mine.names, mine.labels, strict=True))
        for name, clip in zip(held.names, held.joints, strict=True):
            original = pose_of(name).clip()
            assert np.array_equal(clip[: len(original)], original)
            assert np.array_equal(clip, np.resize(original, clip.shape))
    assert read_clip_set(upstream, "val+test").splits == ("val", "test", "test")


def prepared_wlasl100(place):
    """WLASL100 as dsta.prepare would leave it in prepared/data, from clips in upstream's form in upstream/data."""
    known = official("WLASL100")
    held = read_clip_set(wlasl100(place / "upstream" / "data"))
    clips = dict(zip(held.names, held.joints, strict=True))
    glosses = [entry.gloss for _, entry in sorted((e.label, e) for e in known.values())]
    rows = [row(name, known[name].gloss, known[name].split, len(clip), "") for name, clip in clips.items()]
    about = {**ABOUT, "dataset": "WLASL100", "glosses": list(dict.fromkeys(glosses))}
    write_prepared(place / "prepared" / "data" / "WLASL100", rows, lambda r: clips[r.clip], about, [])
    return held, about["glosses"]


@pytest.mark.slow
def test_run_all_scores_a_prepared_benchmark_by_both_protocols(tmp_path):
    held, glosses = prepared_wlasl100(tmp_path)
    weights = tmp_path / "prepared" / "weights" / "WLASL100"
    network(weights / "joint", glosses, "joint", estimator="mediapipe-holistic")
    network(weights / "bone", glosses, "bone", estimator="hrnet-wholebody")
    assert run(tmp_path / "prepared", "--streams", "joint", "bone", "--workers", "1", datasets=["WLASL100"]) == 1
    rows = {(protocol, streams): row for (_, protocol, streams, _), row in table(tmp_path / "prepared").items()}
    splits = [official("WLASL100")[name].split for name in held.names]
    assert int(rows["test", "joint"]["n"]) == splits.count("test")
    assert int(rows["val+test", "joint"]["n"]) == len(splits)
    assert rows["test", "joint"]["status"] == "ok"
    assert rows["test", "bone"]["status"] == "mismatch"
    assert "hrnet-wholebody" in rows["test", "bone"]["reason"]
    # The same clips as upstream's arrays, scored by the same network, give the same figures.
    network(tmp_path / "upstream" / "weights" / "WLASL100" / "joint", glosses, "joint", estimator="hrnet-wholebody")
    assert run(tmp_path / "upstream", "--streams", "joint", "--workers", "1", datasets=["WLASL100"]) == 0
    for (_, protocol, _, _), other in table(tmp_path / "upstream").items():
        for figure in ("top1_instance", "top5_class", "n"):
            assert rows[protocol, "joint"][figure] == other[figure]


def test_another_order_of_the_official_glosses_is_no_fault(tmp_path):
    _, glosses = prepared_wlasl100(tmp_path)
    folder = tmp_path / "prepared" / "data" / "WLASL100"
    about = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**about, "glosses": sorted(glosses)}))
    told = " ".join(finding.text for finding in examine(read_clip_set(folder, "val+test"), dataset("WLASL100")))
    assert "are not those of the official list" not in told
    index = (folder / "index.csv").read_text()
    (folder / "index.csv").write_text(index.replace(f",{glosses[3]},", f",{glosses[4]},"))
    told = " ".join(finding.text for finding in examine(read_clip_set(folder, "val+test"), dataset("WLASL100")))
    assert "2 of 200 labels are not those of the official list" in told
