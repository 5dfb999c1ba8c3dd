"""Skeleton sets on disk."""

import csv

import numpy as np
import pytest
from helpers.benchmarks import upstream_set
from helpers.oracle import SHARED, needs_data

from dsta.common import UserError
from dsta.data import read_skeletons
from dsta.train.splits import Request, read_training_clips

ROWS = [("c0", "hello", "s1", 0), ("c1", "hello", "s2", 1), ("c2", "thanks", "", 0), ("c3", "où", "s1", 3)]


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {f"c{i}": rng.uniform(0.1, 0.9, (3 + i, 27, 3)).astype(np.float16) for i in range(4)}


@pytest.fixture
def folder(tmp_path, arrays):
    folder = tmp_path / "mine"
    folder.mkdir()
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("clip", "gloss", "source", "fold"), *ROWS])
    np.savez_compressed(folder / "clips.npz", **arrays)
    return folder


def test_fractions_become_pixels_of_a_four_to_three_picture(folder, arrays):
    read = read_skeletons(folder)
    assert [(c.name, c.gloss, c.source, c.fold) for c in read] == ROWS and {c.dataset for c in read} == {"mine"}
    for clip in read:
        assert clip.joints.dtype == np.float32
        assert np.abs(clip.joints - arrays[clip.name].astype(np.float64) * [512, 384, 1]).max() < 1e-3


def test_an_index_that_went_through_a_spreadsheet_is_read(folder, arrays):
    content = (folder / "index.csv").read_text(encoding="utf-8").replace("c3", "cafe\u0301").replace("où", "ou\u0300")
    (folder / "index.csv").write_text(f"\ufeff{content}\n,,,\n", encoding="utf-8")
    np.savez(folder / "clips.npz", **{"caf\u00e9" if name == "c3" else name: array for name, array in arrays.items()})
    assert [(c.name, c.gloss) for c in read_skeletons(folder)][2:] == [("c2", "thanks"), ("caf\u00e9", "où")]


def test_a_clip_that_is_not_there_is_named(folder, arrays):
    del arrays["c2"]
    np.savez(folder / "clips.npz", **arrays)
    with pytest.raises(UserError, match=r"lacks 1 .* c2"):
        read_skeletons(folder)


@pytest.mark.parametrize("shape", [(3, 26, 3), (0, 27, 3), (27, 3)])
def test_a_clip_of_another_shape_is_named(folder, arrays, shape):
    np.savez(folder / "clips.npz", **{**arrays, "c1": np.zeros(shape)})
    with pytest.raises(UserError, match="c1"):
        read_skeletons(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_clip_with_a_value_that_is_no_number_is_named(folder, arrays, value):
    arrays["c2"][1, 20, 0] = value
    np.savez(folder / "clips.npz", **arrays)
    with pytest.raises(UserError, match=r"Clip c2 of mine holds (NaN|infinity)"):
        read_skeletons(folder)


def test_a_name_that_is_there_twice_is_told(folder):
    with (folder / "index.csv").open("a") as file:
        file.write("c1,thanks,s2,0\n")
    with pytest.raises(UserError, match=r"index\.csv names the clip c1 2 times"):
        read_skeletons(folder)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_training_or_validation_clip_of_upstream_with_nan_is_named(tmp_path, split):
    for seed, part in enumerate(("train", "val")):
        upstream_set(tmp_path / "mine", ["x1", "x2", "x3"], [0, 1, 1], split=part, seed=seed)
    path = tmp_path / "mine" / f"{split}_data_joint.npy"
    array = np.load(path)
    array[1, 0, 3, 5] = np.nan
    np.save(path, array)
    with pytest.raises(UserError, match="Clip x2 of mine holds NaN"):
        material = read_training_clips(Request((tmp_path / "mine",), choose="val"))
        list(material.train), list(material.val)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.csv", b""),
        ("index.csv", b"clip,gloss,source,fold\n"),
        ("index.csv", b"clip,gloss,fold\nc0,hello,0\n"),
        ("index.csv", b"clip,gloss,source,fold\nc0,hello,s,first\n"),
        ("index.csv", b"clip,gloss,source,fold\nc0,hello\n"),
        ("index.csv", b"clip,gloss,source,fold\nc0,hello,s,\n"),
        ("index.csv", b"clip;gloss;source;fold\nc0;hello;s;0\n"),
        ("index.csv", b"clip,gloss,source,fold\nc0,,s,0\n"),
        ("index.csv", b"clip,gloss,source,fold\nc0,h\xe9,s,0\n"),
        ("index.csv", None),
        ("clips.npz", b""),
        ("clips.npz", b"PK\x03\x04"),
        ("clips.npz", b"not an archive"),
        ("clips.npz", None),
    ],
)
def test_a_file_that_is_bad_or_missing_is_told(folder, name, content):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        read_skeletons(folder)


def test_pickled_arrays_are_refused(folder, arrays):
    np.savez(folder / "clips.npz", **{**arrays, "c1": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(UserError, match=r"clips\.npz"):
        read_skeletons(folder)


def test_no_damaged_archive_is_a_traceback(folder):
    path = folder / "clips.npz"
    whole, told = path.read_bytes(), 0
    for place in range(0, len(whole), 17):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 129]) + whole[place + 1 :])
        try:
            read_skeletons(folder)
        except UserError:
            told += 1
    assert told > 50


@needs_data
def test_real_sets_are_read():
    read = read_skeletons(SHARED / "data" / "asl_everyday")
    assert len(read) == 5819 and len({c.gloss for c in read}) == 28 and {c.fold for c in read} == {0, 1, 2, 3}
