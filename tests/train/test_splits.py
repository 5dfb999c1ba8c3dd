"""What trains, what chooses the epoch, and what is refused."""

import numpy as np
import pytest
from helpers.benchmarks import skeleton_set, upstream_set

from dsta.common import UserError
from dsta.data import official
from dsta.data.prepared import IndexRow
from dsta.prepare.write import write_prepared
from dsta.train.splits import HELD_OUT, Request, hold_out, read_training_clips


def names_of(split, count, label=None):
    entries = official("WLASL100").items()
    return [(n, e.label) for n, e in entries if e.split == split and label in (None, e.label)][:count]


def wlasl(data, train, held, seed=0):
    folder = data / "WLASL100"
    for i, (split, entries) in enumerate((("train", train), ("val", held))):
        names, labels = zip(*entries, strict=True)
        upstream_set(folder, names, labels, split=split, seed=seed + i)
    return folder


def test_upstreams_joined_val_gives_its_official_validation_part_only(tmp_path):
    val, test = names_of("val", 7), names_of("test", 5)
    folder = wlasl(tmp_path, names_of("train", 9), [*test, *val])
    material = read_training_clips(Request((folder,), "val"))
    assert {clip.name for clip in material.val} == {name for name, _ in val}
    assert len(material.train) == 9 and len(material.glosses) == 100
    assert "official validation part" in material.selection and "7 clips" in material.selection
    assert material.train[0].gloss == official("WLASL100")[material.train[0].name].gloss


def test_an_official_test_clip_in_training_is_refused(tmp_path):
    train = names_of("train", 5) + names_of("test", 1)
    with pytest.raises(UserError, match=train[-1][0]):
        read_training_clips(Request((wlasl(tmp_path, train, names_of("val", 3)),), "val"))


def test_a_training_clip_that_is_a_test_clip_by_name_is_refused_and_one_by_content_is_left_out(tmp_path):
    folder = upstream_set(tmp_path / "SLR500", [f"t{i}" for i in range(20)], [0, 1] * 10, split="train", seed=1)
    upstream_set(folder, ["x", "y", "z"], [0, 1, 0], split="val", seed=2)
    test = np.load(folder / "val_data_joint.npy")
    test[1] = np.load(folder / "train_data_joint.npy")[3]
    np.save(folder / "val_data_joint.npy", test)
    for choose, held_out in (("last", 0), ("val", 2)):
        material = read_training_clips(Request((folder,), choose))
        assert len(material.train) == 20 - held_out - ("t3" not in {clip.name for clip in material.val})
        assert "t3" not in {clip.name for clip in material.train} and "t3 of SLR500" in material.notes[0]
    upstream_set(folder, ["x", "t3", "z"], [0, 1, 0], split="val", seed=2)
    with pytest.raises(UserError, match="t3"):
        read_training_clips(Request((folder,), "val"))


def test_a_damaged_validation_part_is_told_and_not_taken_for_none(tmp_path):
    folder = wlasl(tmp_path, names_of("train", 6), names_of("val", 3))
    (folder / "val_label.pkl").write_bytes(b"half")
    for choose in ("val", "last"):
        with pytest.raises(UserError, match=r"val_label\.pkl"):
            read_training_clips(Request((folder,), choose))


def test_joined_folders_of_several_kinds_leave_the_benchmarks_held_out_clips_out(tmp_path):
    """The clip that is held out by its official number is told from another that only bears the same number."""
    benchmark = wlasl(tmp_path, names_of("train", 4), names_of("val", 3))
    about = tmp_path / "WLASL100" / "dataset.json"
    about.write_text('{"format": 1, "estimator": "mediapipe-holistic", "glosses": []}')
    number, gloss = names_of("val", 1)[0][0], official("WLASL100")[names_of("val", 1)[0][0]].gloss
    again, other = names_of("val", 2)[1][0], tmp_path / "others"
    other.mkdir()
    rows = [(number, gloss, "s"), (again, "hello", "s"), ("mine", "deaf", "s")]
    (other / "index.csv").write_text("clip,gloss,source\n" + "".join(",".join(row) + "\n" for row in rows))
    np.savez(other / "clips.npz", **{row[0]: np.full((5, 27, 3), i / 4, np.float32) for i, row in enumerate(rows)})
    material = read_training_clips(Request((benchmark, other)))
    assert [clip.name for clip in material.train if clip.dataset == "others"] == [again, "mine"]
    assert len([clip for clip in material.train if clip.dataset == "WLASL100"]) == 4 and not material.val
    assert {"hello", "deaf", gloss} < set(material.glosses) and material.glosses == tuple(sorted(material.glosses))
    chosen = read_training_clips(Request((benchmark, other), "val"))
    assert len(chosen.val) == 3 and "official validation part" in chosen.selection


def test_where_the_released_val_is_test_some_of_training_chooses(tmp_path):
    labels = [i % 3 for i in range(60)]
    folder = upstream_set(tmp_path / "SLR500", [f"t{i}" for i in range(60)], labels, split="train", seed=1)
    upstream_set(folder, ["x", "y"], [0, 1], split="val", seed=2)
    material = read_training_clips(Request((folder,), "val"))
    train, val = ({clip.name for clip in part} for part in (material.train, material.val))
    assert len(val) == 6 and len(train) == 54 and not train & val and val <= {f"t{i}" for i in range(60)}
    assert "held out of training" in material.selection and "seed 0" in material.selection
    last = read_training_clips(Request((folder,), "last"))
    assert len(last.train) == 60 and not last.val and last.selection == "last epoch"


def test_what_is_held_out_is_whole_signers_or_a_share_of_every_gloss():
    sources = [f"s{i % 10}" for i in range(100)]
    labels = np.arange(100) % 4
    mask, how = hold_out(labels, sources, 0)
    assert {s for s, out in zip(sources, mask, strict=True) if out}.isdisjoint(
        s for s, out in zip(sources, mask, strict=True) if not out
    )
    assert mask.sum() == 10 and how.startswith("1 of 10 signers")
    mask, _ = hold_out(labels, [""] * 100, 0)
    assert np.bincount(labels[mask]).tolist() == [round(HELD_OUT * 25)] * 4
    assert np.array_equal(mask, hold_out(labels, [""] * 100, 0)[0])
    assert not np.array_equal(mask, hold_out(labels, [""] * 100, 1)[0])
    with pytest.raises(UserError, match="--select last"):
        hold_out(np.array([0, 1]), ["", ""], 0)


@pytest.mark.parametrize("options", [{"train_split": "test"}, {"val_split": "val+test"}, {"val_split": "Test"}])
def test_the_test_split_is_refused_by_name(options):
    with pytest.raises(UserError, match="never"):
        Request((), **options)


def test_shared_clips_and_glosses_without_clips_are_noted(tmp_path):
    folder = upstream_set(tmp_path / "mine", ["a", "b", "c"], [0, 2, 2], split="train")
    upstream_set(folder, ["d", "e"], [0, 3], split="val", seed=5)
    held, train = np.load(folder / "val_data_joint.npy"), np.load(folder / "train_data_joint.npy")
    held[1] = train[2]
    np.save(folder / "val_data_joint.npy", held)
    material = read_training_clips(Request((folder,), "val"))
    assert material.glosses == ("0", "1", "2", "3") and len(material.val) == 2
    assert [note.split()[0] for note in material.notes] == ["1", "2"]
    assert "left out" in material.notes[0] and "no training clip" in material.notes[1]
    assert [clip.name for clip in material.train] == ["a", "b"]


def test_labels_beyond_the_benchmarks_classes(tmp_path):
    folder = upstream_set(tmp_path / "WLASL100", ["a", "b"], [0, 100], split="train")
    with pytest.raises(UserError, match="100 classes"):
        read_training_clips(Request((folder,), "last"))


def test_folds_of_skeleton_sets_train_choose_or_are_left_out(tmp_path):
    folder = skeleton_set(tmp_path / "mine", folds=4)
    material = read_training_clips(Request((folder,), "val", without_folds=(0,), val_folds=(2,)))
    assert {clip.fold for clip in material.train} == {1, 3} and {clip.fold for clip in material.val} == {2}
    assert material.glosses == ("book", "deaf", "hello") and "[2]" in material.selection


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"choose": "val"}, "--val-folds"),
        ({"choose": "val", "val_folds": (1,), "without_folds": (1,)}, "Fold 1"),
        ({"choose": "val", "val_folds": (9,)}, "9"),
        ({"without_folds": (0, 1)}, "fewer folds"),
        ({"val_folds": (1,)}, "--select last"),
    ],
)
def test_requests_of_folds_that_cannot_be_met(tmp_path, options, says):
    folder = skeleton_set(tmp_path / "mine", folds=2)
    with pytest.raises(UserError, match=says):
        read_training_clips(Request((folder,), **options))


def test_arrays_have_no_folds_and_are_joined_with_the_same_estimator_alone(tmp_path):
    folder = upstream_set(tmp_path / "mine", ["a", "b"], [0, 1], split="train")
    with pytest.raises(UserError, match="no folds"):
        read_training_clips(Request((folder,), without_folds=(1,)))
    with pytest.raises(UserError, match="hrnet-wholebody and mediapipe-holistic cannot be joined"):
        read_training_clips(Request((folder, skeleton_set(tmp_path / "set"))))


def test_a_prepared_folder_trains_on_its_train_and_chooses_by_its_val(tmp_path):
    rng, rows, joints = np.random.default_rng(0), [], {}
    for i in range(12):
        split = ("train", "train", "val", "test")[i % 4]
        joints[f"c{i}"] = rng.uniform(100, 400, (5 + i, 27, 3)).astype(np.float32)
        about = (f"c{i}", ("no", "yes")[i // 4 % 2], split, f"signer{i}", "", 0, 5 + i, 25.0, 640, 480)
        rows.append(IndexRow(*about, "mediapipe-holistic", 1.0, 1.0, str(i)))
    about = {"estimator": "mediapipe-holistic", "glosses": ["no", "yes"]}
    folder = tmp_path / "mine"
    folder.mkdir()
    write_prepared(folder, rows, lambda row: joints[row.clip], about, [])
    material = read_training_clips(Request((folder,), "val"))
    assert [clip.name for clip in material.train] == ["c0", "c1", "c4", "c5", "c8", "c9"]
    assert [clip.name for clip in material.val] == ["c2", "c6", "c10"] and "split val" in material.selection
    first = material.train[0]
    assert (first.gloss, first.source) == ("no", "signer0") and np.array_equal(first.joints, joints["c0"])
