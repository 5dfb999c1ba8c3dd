"""The whole table, from made-up benchmarks and a made-up cross-validation to rows that others can check."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.benchmarks import STREAMS, crossval_run, skeleton_set
from helpers.scores import logits as direct_logits
from helpers.tables import ALL, lasting, run, table, unmade

import eval.scoring
from dsta.checkpoint import Checkpoint
from dsta.common import file_sha256
from dsta.data import clip_key, official, read_clip_set, read_skeletons, synthetic
from dsta.metrics import fit_fusion
from dsta.streams import fuse
from dsta.train.runs import CrossValidation, held_out
from eval.plan import fit_on_inner_fold
from eval.recompute import main as recompute
from leaderboard.results import DISTURBED_COLUMNS, GLOSS_COLUMNS, read_rows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def done(world):
    assert run(world) == 0
    return table(world)


def test_every_combination_under_every_protocol_is_a_row(done):
    def count(dataset, protocol, fusion):
        return sum(key[0] == dataset and key[1] == protocol and key[3] == fusion for key in done)

    assert all(r["status"] == "ok" for r in done.values())
    for protocol in ("test", "val+test"):
        assert [count("WLASL100", protocol, f) for f in ("none", "published", "equal")] == [4, 11, 11]
    assert (count("WLASL100", "test", "fitted"), count("WLASL100", "val+test", "fitted")) == (11, 0)
    assert [count("asl_everyday", "folds", f) for f in ("none", "equal", "fitted", "published")] == [4, 11, 11, 0]
    assert {r["n"] for key, r in done.items() if key[1] == "test"} == {"100"}
    assert {r["n"] for key, r in done.items() if key[1] == "val+test"} == {"200"}


def test_published_weights_are_flagged_as_tuned(done):
    row = done["WLASL100", "val+test", ALL, "published"]
    assert "tuned on the reported split" in row["note"].lower()
    assert json.loads(row["fusion_weights"]) == dict(zip(STREAMS, (1.7, 1.2, 0.2, 0.3), strict=True))
    assert "tuned" not in done["WLASL100", "test", ALL, "equal"]["note"].lower()
    assert "fitted on the 100 validation clips" in done["WLASL100", "test", ALL, "fitted"]["note"].lower()


def test_figures_are_scikit_learns(world, done):
    sk = pytest.importorskip("sklearn.metrics")
    held = read_clip_set(world / "data" / "WLASL100")
    known = official("WLASL100")
    test = [i for i, name in enumerate(held.names) if known[clip_key(name)].split == "test"]
    chosen, labels = {}, held.labels[test]
    for stream in ("joint", "bone_motion"):
        checkpoint = Checkpoint.load(world / "weights" / "WLASL100" / stream)
        chosen[stream] = direct_logits(checkpoint.model, [held.joints[i] for i in test], stream, checkpoint.recipe)
    fused = fuse({s: v.astype(float) for s, v in chosen.items()}, {"joint": 1.7, "bone_motion": 0.3})
    row = done["WLASL100", "test", "joint+bone_motion", "published"]
    top5 = sk.top_k_accuracy_score(labels, fused, k=5, labels=range(100))
    assert float(row["top1_instance"]) == pytest.approx(sk.accuracy_score(labels, fused.argmax(1)), abs=1e-6)
    assert float(row["top5_instance"]) == pytest.approx(top5, abs=1e-6)
    assert float(row["top1_class"]) == pytest.approx(sk.balanced_accuracy_score(labels, fused.argmax(1)), abs=1e-6)
    p = np.exp(fused - fused.max(1, keepdims=True))
    expected = sk.log_loss(labels, p / p.sum(1, keepdims=True), labels=range(100))
    assert float(row["log_loss"]) == pytest.approx(expected, rel=1e-4)
    assert 0 < float(row["top1_instance"]) < 0.5 and len(set(fused.argmax(1))) > 10  # there was something to get wrong


def test_folds_are_scored_by_the_network_that_never_saw_them(world, done):
    held = read_clip_set(world / "data" / "asl_everyday")
    pooled = np.empty((len(held), 3))
    for fold in (0, 1):
        checkpoint = Checkpoint.load(world / "runs" / "tiny" / f"fold{fold}" / "bone")
        own = np.flatnonzero(held.folds == fold)
        pooled[own] = direct_logits(checkpoint.model, [held.joints[i] for i in own], "bone", checkpoint.recipe)
    row = done["asl_everyday", "folds", "bone", "none"]
    assert float(row["top1_instance"]) == pytest.approx((pooled.argmax(1) == held.labels).mean(), abs=1e-6)
    assert (
        int(row["n"]) == len(held)
        and row["interval"] == "bootstrap over 4 sources, Wilson at least"
        and row["run"] == "tiny"
    )
    chosen = file_sha256(world / "runs" / "tiny" / "chosen.json")
    assert row["run_sha256"] == hashlib.sha256(f"{chosen}  chosen.json\n".encode()).hexdigest()


def test_every_row_is_recomputed_from_the_scores_that_are_kept(world, done, tmp_path, capsys):
    shutil.copytree(world / "out", tmp_path / "out")
    assert recompute(["--results", str(tmp_path / "out")]) == 0
    counts = {name: sum(key[0] == name for key in done) for name in ("WLASL100", "asl_everyday")}
    assert counts["WLASL100"] == (4 + 11 * 3) + 2 * (4 + 11 * 2) and counts["asl_everyday"] == 4 + 11 * 2
    said = capsys.readouterr().out
    assert all(f"{name}: {count} rows are what the scores give" in said for name, count in counts.items())
    with np.load(tmp_path / "out" / "scores" / "asl_everyday" / "scores.npz") as saved:
        texts = {name for name in saved.files if saved[name].dtype.kind == "U" and saved[name].ndim}
        assert texts == {"glosses"}  # no clip is named
        changed = dict(saved.items())
    changed["logits_bone"] = changed["logits_bone"][::-1]
    np.savez(tmp_path / "out" / "scores" / "asl_everyday" / "scores.npz", **changed)
    assert recompute(["asl_everyday", "--results", str(tmp_path / "out")]) == 2
    assert "asl_everyday:folds:bone:none is not what its scores give: top1_instance" in capsys.readouterr().err


def test_fitted_on_inner_folds_is_the_choice_of_the_cross_validation(done):
    row = done["asl_everyday", "folds", ALL, "fitted"]
    assert json.loads(row["fusion_weights"]) == dict(zip(STREAMS, (0.4, 0.3, 0.2, 0.1), strict=True))
    assert "temperatures 1.5, 1.5" in row["note"]
    pair = json.loads(done["asl_everyday", "folds", "joint+bone", "fitted"]["fusion_weights"])
    assert sum(pair.values()) == pytest.approx(1, abs=1e-5)  # refitted on the judges' scores


def test_hashes_of_a_row_can_be_checked_from_a_shell(world, done):
    def shell(command, where):
        return subprocess.run(
            command, shell=True, cwd=where, capture_output=True, text=True, check=True
        ).stdout.split()[0]

    row = done["WLASL100", "test", "joint", "none"]
    assert row["weights_sha256"] == shell("sha256sum model.safetensors", world / "weights" / "WLASL100" / "joint")
    files = "LC_ALL=C ls val_* | xargs sha256sum | sha256sum"
    assert row["data_sha256"] == shell(files, world / "data" / "WLASL100")
    assert row["commit"] and "eval/run_all.py" in row["command"] and json.loads(row["recipe"])["window"] == 8


def test_gloss_counts_add_up_to_their_row(world, done):
    glosses = read_rows(world / "out" / "glosses.csv", GLOSS_COLUMNS)
    for key, row in done.items():
        own = [g for g in glosses if tuple(g[k] for k in ("dataset", "protocol", "streams", "fusion")) == key]
        n = int(row["n"])
        assert sum(int(g["n"]) for g in own) == n and len(own) == int(row["num_classes"])
        for k in "15":
            assert sum(int(g[f"hits{k}"]) for g in own) / n == pytest.approx(float(row[f"top{k}_instance"]), abs=1e-6)
        assert all(int(g["confused_count"]) <= int(g["n"]) - int(g["hits1"]) for g in own)
    assert "drink" in {g["gloss"] for g in glosses if g["dataset"] == "WLASL100"}  # official, not "class 1"


def test_nothing_that_names_a_clip_is_written(world, done):
    names = read_clip_set(world / "data" / "WLASL100").names
    text = (world / "out" / "glosses.csv").read_text() + (world / "out" / "results.csv").read_text()
    assert not any(f",{name}," in text for name in names)


def same(one, two):
    return {key: lasting(row) for key, row in one.items()} == {key: lasting(row) for key, row in two.items()}


def test_a_second_run_costs_no_network_and_gives_the_same_table(world, done, monkeypatch):
    monkeypatch.setattr(eval.scoring, "score", None)
    assert run(world, out="again") == 0
    assert same(table(world, "again"), done)
    assert (world / "again" / "glosses.csv").read_text() == (world / "out" / "glosses.csv").read_text()


@pytest.mark.slow
def test_two_processes_give_the_same_table_and_a_failure_in_one_is_a_row(place, done):
    path = place / "weights" / "WLASL100" / "bone_motion" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "eval/run_all.py", "--data", place / "data", "--weights", place / "weights", "--runs", place / "runs",
        "--out", place / "out", "--cache", place / "cache2", "--device", "cpu", "--datasets", "WLASL100",
        "asl_everyday", "SLR500",
    ]  # fmt: skip
    call = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert call.returncode == 1, call.stderr
    two = table(place)
    assert two.pop(("SLR500", "test", ALL, "equal"))["status"] == "no data"
    failed = [key for key in done if key[0] == "WLASL100" and "bone_motion" in key[2].split("+")]
    assert {key[2] for key in failed} == set(unmade(place, "WLASL100"))
    whole = {key: row for key, row in done.items() if key not in failed}
    assert same({key: row for key, row in two.items() if row["status"] == "ok"}, whole)


@pytest.mark.slow
def test_a_killed_run_keeps_what_it_had_and_goes_on(place, monkeypatch):
    real, calls = eval.scoring.score, []

    def killed(checkpoint, clips, *rest):
        calls.append(len(clips))
        if len(clips) > 1 and sum(n > 1 for n in calls) == 7:  # the third network of the second set
            raise KeyboardInterrupt
        return real(checkpoint, clips, *rest)

    monkeypatch.setattr(eval.scoring, "score", killed)
    with pytest.raises(KeyboardInterrupt):
        run(place)
    assert {key[0] for key in table(place)} == {"WLASL100"}
    assert not list(place.rglob("*.part"))
    calls.clear()
    monkeypatch.setattr(eval.scoring, "score", lambda *a: calls.append(len(a[1])) or real(*a))
    assert run(place) == 0
    assert {key[0] for key in table(place)} == {"WLASL100", "asl_everyday"}
    assert sum(n > 1 for n in calls) == 8 - 2


def test_shuffled_clips_give_the_same_figures(place, done):
    folder = place / "data" / "WLASL100"
    order = np.random.default_rng(5).permutation(200)
    np.save(folder / "val_data_joint.npy", np.load(folder / "val_data_joint.npy")[order])
    names, labels = pickle.loads((folder / "val_label.pkl").read_bytes())
    shuffled = [names[i] for i in order], np.array(labels)[order]
    (folder / "val_label.pkl").write_bytes(pickle.dumps(shuffled))
    assert run(place, datasets=["WLASL100"]) == 0
    for key, row in table(place).items():
        for column in ("n", "num_classes", "top1_instance", "top1_class", "top5_class_hi", "ece"):
            assert float(row[column]) == pytest.approx(float(done[key][column]), abs=2e-6)


def test_a_subset_is_refitted_as_the_cross_validation_fits(place):
    run_folder, clips = place / "runs" / "tiny", read_skeletons(place / "data" / "asl_everyday")
    for stream in ("joint", "bone"):  # some takes are not judged, and the others stand for them
        path = run_folder / "without01" / stream / "scores.npz"
        scores = dict(np.load(path))
        keep = [i for i, name in enumerate(scores["names"]) if not name.endswith("deaf/f1-0")]
        np.savez(path, **{key: value[keep] for key, value in scores.items()})
    folders = {stream: run_folder / "without01" / stream for stream in ("joint", "bone")}
    judged = held_out(folders, 2, clips, 1)
    expected = fit_fusion(judged.logits, judged.labels, judged.stands_for)
    weights, temperature = fit_on_inner_fold(CrossValidation(run_folder), clips, 0, ("joint", "bone"))
    assert weights == pytest.approx(expected[0], abs=1e-9) and temperature == pytest.approx(expected[1], rel=1e-9)
    assert len(set(judged.stands_for)) > 1


def test_a_joint_vocabulary_is_narrowed_to_the_sets_own_glosses(place):
    other = skeleton_set(place / "data" / "libras11", ("amo", "zebra"), seed=3)
    shutil.rmtree(place / "runs" / "tiny")
    crossval_run(place / "runs" / "both", [place / "data" / "asl_everyday", other], ["joint", "bone"])
    assert run(place, "--streams", "joint", "bone", datasets=["asl_everyday", "libras11"]) == 0
    glosses = read_rows(place / "out" / "glosses.csv", GLOSS_COLUMNS)
    for name, own in (("asl_everyday", {"book", "deaf", "hello", ""}), ("libras11", {"amo", "zebra", ""})):
        assert {g["confused_with"] for g in glosses if g["dataset"] == name} <= own
    assert table(place)["libras11", "folds", "joint+bone", "fitted"]["status"] == "ok"


def test_a_set_of_ones_own_is_scored_by_its_name(place):
    skeleton_set(place / "data" / "mine", ("amo", "zebra"))
    crossval_run(place / "runs" / "own", [place / "data" / "mine"], ["joint"])
    assert run(place, "--streams", "joint", datasets=["mine"]) == 0
    assert table(place)["mine", "folds", "joint", "none"]["num_classes"] == "2"


@pytest.mark.slow
def test_robustness_is_a_curve_for_each_row(place):
    assert run(place, "--robustness", "--streams", "joint", "bone", datasets=["asl_everyday"]) == 0
    curves = read_rows(place / "out" / "robustness.csv", DISTURBED_COLUMNS)
    rows = table(place)
    assert len(curves) == 4 * 9
    for key, row in rows.items():
        own = [c for c in curves if tuple(c[k] for k in ("dataset", "protocol", "streams", "fusion")) == key]
        levels = {(c["disturbance"], float(c["level"])) for c in own}
        assert {("none", 0.0), ("joints missing", 0.3), ("noise", 5.0), ("frame rate", 0.5)} <= levels
        (plain,) = [c for c in own if c["disturbance"] == "none"]
        assert plain["top1_instance"] == row["top1_instance"] and all(c["n"] == row["n"] for c in own)


def test_a_rehearsal_measures_and_leaves_the_table_alone(place, monkeypatch):
    monkeypatch.setattr(synthetic, "UPSTREAM_FRAMES", 5)
    assert run(place, "--rehearsal", "3", "--streams", "joint", datasets=["WLASL100"], out="rehearsal") == 0
    assert not (place / "rehearsal" / "results.csv").exists()
    (line,) = read_rows(place / "rehearsal" / "rehearsal.csv", ("dataset", "stream", "n", "seconds"))
    assert (line["dataset"], line["n"], line["num_classes"]) == ("WLASL100", "3", "100")
