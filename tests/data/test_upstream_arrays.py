"""Upstream's arrays and label pickles, which come from strangers."""

import os
import pickle

import numpy as np
import pytest
from helpers.benchmarks import skeleton_set, upstream_set

from dsta.common import UserError
from dsta.common.machine import peak_mb
from dsta.common.unpickle import read_labels
from dsta.data import read_clip_set
from dsta.data.read import ArrayClips

LABELS = [
    (["a", "b"], [0, 1]),
    [("a", "b"), (0, 1)],
    (["a", "b"], np.array([0, 1])),
    (np.array(["a", "b"]), np.array([0, 1], ">i2")),
    (np.array(["a", "b"], object), [np.int64(0), np.int32(1)]),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("content", LABELS)
def test_label_pickles_of_every_kind_are_read(tmp_path, content, protocol):
    path = tmp_path / "val_label.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    names, labels = read_labels(path)
    assert names == ("a", "b") and labels.tolist() == [0, 1] and labels.dtype == np.int64


class Program:
    def __init__(self, function, *arguments):
        self.made_of = function, arguments

    def __reduce__(self):
        return self.made_of


@pytest.mark.parametrize("function", [os.system, eval, exec, __import__, np.load])
def test_a_pickle_that_holds_a_program_does_not_run_it(tmp_path, function):
    path, trace = tmp_path / "val_label.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps((["a"], [Program(function, f"touch {trace}")])))
    with pytest.raises(UserError, match="nothing was run"):
        read_labels(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"a": 1}, [["a"], [0], []], (["a", "b"], [0]), ([], []), (["a"], [-1]), (["a"], [0.5]), (["a"], [True]),
        (["a"], ["0"]), ([["a"]], [0]), 3, (["a"], 0), (["a"], np.zeros((1, 1), int)), (["a"], [2**70]),
    ],
)  # fmt: skip
def test_what_is_no_list_of_labels_is_told(tmp_path, content):
    path = tmp_path / "val_label.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"val_label\.pkl"):
        read_labels(path)


def test_no_damaged_pickle_is_a_traceback(tmp_path):
    path, whole = tmp_path / "l.pkl", pickle.dumps((["a", "b", "c"], np.array([0, 1, 2])))
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(bytes(broken[: rng.integers(1, len(whole) + 1)]))
        try:
            names, labels = read_labels(path)
            assert len(names) == len(labels)
        except UserError:
            pass


@pytest.mark.parametrize("pickled", [b"Nr\0\0\0\x08.", b"Np1000000000\n.", b"N\x94r\xff\xff\xff\x7f."])
def test_a_pickle_that_numbers_what_it_does_not_have_takes_no_memory(tmp_path, pickled):
    (tmp_path / "l.pkl").write_bytes(pickled)
    before = peak_mb()
    with pytest.raises(UserError, match=r"cannot be read as a list of labels .*: copy it again"):
        read_labels(tmp_path / "l.pkl")
    assert peak_mb() - before < 50


def test_a_missing_file_is_told(tmp_path):
    for read in (read_labels, ArrayClips):
        with pytest.raises(UserError, match="none is missing"):
            read(tmp_path / "none")


def test_arrays_become_clips_of_frames_joints_channels(tmp_path):
    array = np.random.default_rng(0).random((4, 3, 7, 27, 2)).astype(np.float32)
    np.save(tmp_path / "five.npy", array)
    np.save(tmp_path / "four.npy", array[..., 0])
    five, four = ArrayClips(tmp_path / "five.npy"), ArrayClips(tmp_path / "four.npy")
    assert len(five) == 4 and five[2].shape == (7, 27, 3)
    assert (five[2][5, 6] == array[2, :, 5, 6, 0]).all()
    assert all((a == b).all() for a, b in zip(five, four, strict=True))


def test_mapped_clips_travel_by_name(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((50, 3, 30, 27, 1), np.float32))
    sent = pickle.dumps(ArrayClips(tmp_path / "a.npy"))
    assert len(sent) < 1000 and len(pickle.loads(sent)) == 50


@pytest.mark.parametrize("shape", [(2, 3, 5, 26, 1), (2, 2, 5, 27, 1), (0, 3, 5, 27, 1), (2, 3, 27), (3, 5, 27)])
def test_arrays_of_another_shape_are_told(tmp_path, shape):
    np.save(tmp_path / "val_data_joint.npy", np.zeros(shape, np.float32))
    with pytest.raises(UserError, match="must be"):
        ArrayClips(tmp_path / "val_data_joint.npy")


def test_arrays_of_whole_numbers_objects_and_halves_are_told(tmp_path):
    path = tmp_path / "val_data_joint.npy"
    np.save(path, np.zeros((2, 3, 4, 27, 1), int))
    with pytest.raises(UserError, match="floating"):
        ArrayClips(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read"):
        ArrayClips(path)
    np.save(path, np.zeros((20, 3, 40, 27, 1), np.float32))
    whole = path.read_bytes()
    for size in (0, 5, 60, 200, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="cannot be read"):
            ArrayClips(path)


def test_upstreams_folder_is_read(tmp_path):
    held = read_clip_set(upstream_set(tmp_path / "WLASL100", ["x", "y", "z"], [0, 1, 1]))
    assert held.names == ("x", "y", "z") and held.labels.tolist() == [0, 1, 1] and len(held) == 3
    assert held.estimator == "hrnet-wholebody" and held.glosses == () and (held.folds == -1).all()
    (held.folder / "val_label.pkl").write_bytes(pickle.dumps((["x"], [0])))
    with pytest.raises(UserError, match=r"3 clips.*labels 1"):
        read_clip_set(held.folder)


def test_a_skeleton_set_is_held_with_folds_and_groups(tmp_path):
    held = read_clip_set(skeleton_set(tmp_path / "asl_everyday"))
    assert held.glosses == ("book", "deaf", "hello") and set(held.folds) == {0, 1}
    assert held.sources[0] == "s00" and held.estimator == "mediapipe-holistic"
    assert [held.glosses[label] for label in held.labels] == [name.split("/")[0] for name in held.names]


def test_a_folder_without_data_is_told(tmp_path):
    with pytest.raises(UserError, match="neither"):
        read_clip_set(tmp_path)


def test_a_split_without_arrays_is_told_from_a_folder_without_any(tmp_path):
    upstream_set(tmp_path / "mine", ["x"], [0])
    with pytest.raises(UserError, match="no clip of the split train, only of val"):
        read_clip_set(tmp_path / "mine", "train")
    with pytest.raises(UserError, match="holds no data set"):
        read_clip_set(tmp_path, "train")


def test_of_several_people_the_first_who_was_seen_is_taken(tmp_path):
    array = np.zeros((2, 3, 4, 27, 2), np.float32)
    array[0, ..., 1], array[1, ..., 0], array[1, ..., 1] = 5, 6, 7
    np.save(tmp_path / "a.npy", array)
    assert [np.unique(clip).tolist() for clip in ArrayClips(tmp_path / "a.npy")] == [[5], [6]]
