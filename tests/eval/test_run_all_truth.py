"""What would make the table false: fewer classes, a fold that was seen, a row unmade, a commit that is not its own."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import tables
from helpers.benchmarks import SMALL, crossval_run, network, skeleton_set, upstream_set
from helpers.scores import logits

import eval.clock
import eval.scoring
from dsta.checkpoint import Checkpoint, Seen
from dsta.data import benchmarks, read_clip_set
from dsta.data.overlap import Fingerprints
from dsta.data.prepared import IndexRow
from dsta.prepare.write import write_prepared
from dsta.skeleton import INDEX
from dsta.streams import fuse
from eval.plan import DatasetPlan
from eval.protocols import protocol_clips
from leaderboard.results import GLOSS_COLUMNS, read_rows
from leaderboard.table import results as shown

NAMES = ("egg", "dog", "cat", "bee", "ant")


def run(place, *more, streams=("joint",), name="asl_everyday"):
    return tables.run(place, "--streams", *streams, *more, datasets=(name,))


def table(place):
    """The rows of a run on one set and protocol."""
    return {key[2:]: row for key, row in tables.table(place).items()}


# ---- all classes of a benchmark --------------------------------------------------------------------------------------


@pytest.fixture
def tiny5(tmp_path, monkeypatch):
    """A benchmark of five glosses, its folder prepared with clips of two; the clips (T, 27, 3) and their glosses."""
    monkeypatch.setitem(benchmarks.BENCHMARKS, "TINY5", benchmarks.DatasetSpec("TINY5", 5, "Made-up", released="test"))
    rng, rows, clips = np.random.default_rng(3), [], {}
    for i in range(60):
        clips[f"c{i}"] = rng.uniform(100, 400, (8, 27, 3)).astype(np.float32)
        clips[f"c{i}"][..., 2] = 1
        about = (f"c{i}", ("bee", "dog")[i % 2], "test", "", "web", 0, 8, 25.0, 640, 480)
        rows.append(IndexRow(*about, "mediapipe-holistic", 1.0, 1.0, str(i)))
    about = {"estimator": "mediapipe-holistic", "glosses": ["bee", "dog"]}
    write_prepared(tmp_path / "data" / "TINY5", rows, lambda row: clips[row.clip], about, [])
    for i, (stream, names) in enumerate((("joint", NAMES), ("bone", NAMES[::-1]))):
        network(tmp_path / "weights" / "TINY5" / stream, names, stream, SMALL, "mediapipe-holistic", seed=i)
    return tmp_path, list(clips.values()), [row.gloss for row in rows]


def test_a_benchmark_whose_folder_names_few_glosses_is_scored_over_all(tiny5):
    sk = pytest.importorskip("sklearn.metrics")
    place, clips, glosses = tiny5
    assert run(place, streams=("joint", "bone"), name="TINY5") == 0
    by_stream = {}
    for stream in ("joint", "bone"):
        checkpoint = Checkpoint.load(place / "weights" / "TINY5" / stream)
        scores = logits(checkpoint.model, clips, stream, checkpoint.recipe).astype(float)
        by_stream[stream] = scores[:, [checkpoint.glosses.index(name) for name in NAMES]]
    labels = [NAMES.index(gloss) for gloss in glosses]
    rows = table(place)
    for key, scores in (
        (("joint", "none"), by_stream["joint"]),
        (("bone", "none"), by_stream["bone"]),
        (("joint+bone", "equal"), fuse(by_stream, {"joint": 0.5, "bone": 0.5})),
    ):
        best = scores.argmax(1)
        assert float(rows[key]["top1_instance"]) == pytest.approx(sk.accuracy_score(labels, best), abs=1e-6)
        assert set(best) - {1, 3}  # some answers are glosses of which the folder knows nothing
        top5 = sk.top_k_accuracy_score(labels, scores, k=4, labels=range(5))
        assert float(rows[key]["top5_instance"]) == 1 > top5  # of five classes; of two, top-2 would be all
        share = np.exp(scores - scores.max(1, keepdims=True))
        loss = sk.log_loss(labels, share / share.sum(1, keepdims=True), labels=range(5))
        assert float(rows[key]["log_loss"]) == pytest.approx(loss, rel=1e-4)
        assert "3 of 5 classes have no clip" in rows[key]["note"] and rows[key]["num_classes"] == "2"
    counts = read_rows(place / "out" / "glosses.csv", GLOSS_COLUMNS)
    assert {r["gloss"] for r in counts} == {"bee", "dog"}
    assert {r["confused_with"] for r in counts} & {"egg", "cat", "ant"}


@pytest.mark.parametrize(
    ("trained", "chose", "status", "says"),
    [
        (slice(0, 1), slice(0, 0), "ok", "1 of the 60 clips are nearly the same recordings"),
        (
            slice(0, 0),
            slice(7, 8),
            "ok",
            "best top-1 on some (1 of the clips scored here chose it); recipe: mine; fusion",
        ),
        (slice(5, 9), slice(0, 0), "mismatch", "was trained on 4 of these 60"),
        (slice(0, 0), slice(5, 9), "mismatch", "has its epoch by 4 of these 60"),
        (None, None, "ok", "Not all networks of this row, or from which they began, say"),
    ],
)
def test_a_network_that_has_seen_the_clips_under_another_name_is_refused(tiny5, trained, chose, status, says):
    place, clips, _ = tiny5
    folder = place / "weights" / "TINY5" / "joint"
    prints = Fingerprints.of(clips)
    seen = Seen(prints[range(60)[trained]], prints[range(60)[chose]]) if trained else None
    made_by = {"datasets": ["other"], "selection": "epoch 3 of 9: best top-1 on some", "recipe_selection": "mine"}
    replace(Checkpoint.load(folder), seen=seen, provenance=made_by).save(folder)
    assert run(place, name="TINY5") == (status != "ok")
    row = table(place)["joint", "none"]
    assert row["status"] == status and says in row["note"] + row["reason"] + row["selection"]


def test_validation_is_a_protocol_and_test_clips_with_a_twin_in_training_are_left_out_of_another(tmp_path, monkeypatch):
    rng, rows, clips = np.random.default_rng(3), [], {}
    for i, split in enumerate(["train"] * 6 + ["val"] * 3 + ["test"] * 5):
        clips[f"c{i}"] = clip = rng.uniform(100, 400, (20, 27, 3)).astype(np.float32)
        clip[..., 2] = 1
        clip[:, INDEX["nose"], 1], clip[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]], 1] = 100, 200
        about = (f"c{i}", ("bee", "dog")[i % 2], split, "", "web", 0, 20, 25.0, 640, 480)
        rows.append(IndexRow(*about, "mediapipe-holistic", 1.0, 1.0, str(i)))
    clips["c10"], clips["c12"] = (
        clips["c1"],
        clips["c2"] + np.array([20, 10, 0], np.float32),
    )  # twins, one of them moved
    about = {"estimator": "mediapipe-holistic", "glosses": ["bee", "dog"]}
    write_prepared(tmp_path / "TINY", rows, lambda row: clips[row.clip], about, [])
    held = read_clip_set(tmp_path / "TINY", "val+test")
    spec = benchmarks.DatasetSpec("TINY", 2, "Made-up")
    monkeypatch.setitem(benchmarks.BENCHMARKS, "TINY", spec)
    plan = DatasetPlan(spec, held, None, [])
    protocols, val = protocol_clips(plan)
    found = {each.name: {held.names[i] for i in each.positions} for each in protocols}
    test = {f"c{i}" for i in range(9, 14)}
    assert found == {
        "test": test,
        "test-clean": test - {"c10", "c12"},
        "val": {"c6", "c7", "c8"},
        "val+test": test | {"c6", "c7", "c8"},
    }
    assert {held.names[i] for i in val} == found["val"]


def test_a_lone_test_array_is_the_test_split_whatever_its_clips_are_called(tmp_path):
    upstream_set(tmp_path / "data" / "WLASL100", [f"mine{i}" for i in range(6)], range(6), split="test")
    network(tmp_path / "weights" / "WLASL100" / "joint", [f"class {i}" for i in range(100)], "joint")
    assert run(tmp_path, name="WLASL100") == 0
    assert [key[1] for key in tables.table(tmp_path)] == ["test"]


def test_networks_of_other_or_of_doubtful_classes_are_rows(tiny5):
    place, _, _ = tiny5
    for stream, *names in (("joint", *NAMES[1:], "dog"), ("joint_motion", *NAMES[1:], "emu")):
        network(place / "weights" / "TINY5" / stream, names, stream, SMALL, "mediapipe-holistic")
    assert run(place, streams=("joint", "bone", "joint_motion"), name="TINY5") == 1
    rows = table(place)
    assert rows["bone", "none"]["status"] == "ok"
    assert "several of its classes the same name" in rows["joint", "none"]["reason"]
    assert "does not know 1 glosses of the set or of its other networks" in rows["joint_motion", "none"]["reason"]


# ---- what stays, and what a row says of itself -----------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    crossval_run(tmp_path / "runs" / "tiny", [skeleton_set(tmp_path / "data" / "asl_everyday")], ["joint"])
    return tmp_path


def files(place):
    return {path.name: path.read_bytes() for path in (place / "out").iterdir()}


def forget(place):
    for path in (place / "cache" / "logits").iterdir():
        path.unlink()


def test_a_network_that_began_from_one_that_saw_the_fold_is_refused(place):
    path = place / "runs" / "tiny" / "fold1" / "joint" / "config.json"
    config = json.loads(path.read_text())
    config["provenance"]["init"] = {"datasets": ["asl_everyday"], "without_folds": []}
    path.write_text(json.dumps(config))
    assert run(place) == 1
    row = table(place)["joint", "none"]
    assert row["status"] == "mismatch" and "began has seen fold 1" in row["reason"]


@pytest.mark.parametrize("device", ["foo", "cuda:99"])
def test_a_wrong_device_leaves_the_table_alone(place, capsys, device):
    assert run(place) == 0
    before = files(place)
    assert run(place, "--device", device) == 2
    assert len(capsys.readouterr().err.splitlines()[-1:]) == 1 and files(place) == before


@pytest.mark.parametrize("wrong", [("--rehearsal", "-5"), ("--rehearsal", "0"), ("--workers", "-1")])
def test_numbers_that_make_no_sense_are_told(place, capsys, wrong):
    with pytest.raises(SystemExit) as stop:
        run(place, *wrong)
    assert stop.value.code == 2 and "not a whole number" in capsys.readouterr().err


def test_an_error_that_passes_does_not_unmake_a_measured_row(place, monkeypatch, capfd):
    assert run(place) == 0
    before = files(place)
    forget(place)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(eval.scoring, "score", full)
        assert run(place) == 1
    assert "No space left" in capfd.readouterr().err and files(place) == before


def test_an_error_of_other_data_or_weights_does(place, monkeypatch):
    assert run(place) == 0
    crossval_run(place / "runs" / "tiny", [place / "data" / "asl_everyday"], ["joint"])  # the same weights once more
    forget(place)
    monkeypatch.setattr(eval.scoring, "score", None)
    assert run(place) == 1 and table(place)["joint", "none"]["status"] == "ok"
    network(
        place / "runs" / "tiny" / "fold1" / "joint", ["book", "deaf", "hello"], "joint", SMALL, "mediapipe-holistic",
        seed=5, datasets=["asl_everyday"], without_folds=[1],
    )  # fmt: skip
    assert run(place) == 1
    row = table(place)["joint", "none"]
    assert row["status"] == "error" and len(row["weights_sha256"]) == 64
    assert not read_rows(place / "out" / "glosses.csv", GLOSS_COLUMNS)


def test_damaged_data_unmakes_the_row_of_the_whole(tiny5):
    place, _, _ = tiny5
    assert run(place, name="TINY5") == 0
    path = place / "data" / "TINY5" / "joints.npy"
    joints = np.load(path)
    joints[9] = np.nan
    np.save(path, joints)
    assert run(place, name="TINY5") == 1
    row = table(place)["joint", "none"]
    assert row["status"] == "error" and "NaN" in row["reason"] and len(row["data_sha256"]) == 64


def test_a_row_has_the_commit_of_the_code_that_made_its_logits(place, monkeypatch):
    monkeypatch.setattr(eval.scoring, "git_commit", lambda: "aaaa+")
    assert run(place) == 0
    first = table(place)["joint", "none"]
    assert (first["commit"], first["dirty"]) == ("aaaa", "true") and "Kept logits" not in first["note"]
    monkeypatch.setattr(eval.scoring, "git_commit", lambda: "bbbb")
    monkeypatch.setattr(eval.scoring, "now", lambda: pytest.fail("nothing is scored"))
    assert run(place) == 0
    again = table(place)["joint", "none"]
    assert [again[c] for c in ("commit", "dirty", "date")] == [first[c] for c in ("commit", "dirty", "date")]
    assert "figures are computed from them by the code of commit bbbb" in again["note"]


def test_memory_that_is_not_known_is_an_empty_cell(place, monkeypatch):
    monkeypatch.setattr(eval.clock, "_forget_peak", lambda: False)
    assert run(place) == 0
    assert table(place)["joint", "none"]["peak_memory_mb"] == ""
    assert shown(place / "out").rows["peak_memory_mb"].isna().all()
