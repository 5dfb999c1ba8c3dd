"""Cross-validation of two tiny skeleton sets: who saw what, who chose what, and whether the figures add up."""

import csv
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers.crossval import SETS, SMALL, scores_of, tiny, write_set

from dsta.checkpoint import Checkpoint
from dsta.common import UserError, read_json
from dsta.data import read_skeletons
from dsta.keypoints import Pose
from dsta.recognize import Recognizer
from dsta.streams import Stream
from dsta.train import fit
from dsta.train import folds as module
from dsta.train.runs import CrossValidation
from eval import crossval, material, publish, run_all
from leaderboard.results import read_rows

pytestmark = pytest.mark.slow  # nearly all look at networks that are trained here
SCHEDULE, SHARES = 3, (0.4, 0.7, 1.0)  # epochs 1, 2 and 3 are judged
VOCABULARY = list("abcd")
QUICK = {"schedule": 1, "config": partial(tiny, batch_size=8)}  # for few clips


class Spy:
    """Stands in for `fit`: remembers which clips went into which folder."""

    def __init__(self):
        self.saw = {}

    def __call__(self, task, out, *args, **more):
        clips = task.clips.train
        self.saw[out.relative_to(out.parents[1]).as_posix()] = {f"{c.dataset}/{c.name}" for c in clips}
        return fit(task, out, *args, **more)


def cross_validate(data, out, *options, schedule=SCHEDULE, config=tiny):
    """`crossval.main` in this process with tiny networks; returns what each network saw."""
    spy = Spy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fit", spy)
        patch.setattr(crossval, "train_fold_networks", lambda runs, *_: [module.train_and_score(run) for run in runs])
        patch.setattr(module, "SMALL_RECIPE", SMALL)
        patch.setattr(module, "LAST_SHARES", SHARES)
        patch.setattr(crossval, "TrainConfig", config)
        patch.setattr(module, "git_commit", lambda: "")
        arguments = ["--data", *map(str, data), "--out", str(out), "--schedule", str(schedule), *options]
        assert crossval.main(arguments) == 0
    return spy.saw


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return [write_set(folder / name, glosses) for name, glosses in SETS.items()]


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A whole run, and what each network saw."""
    out = tmp_path_factory.mktemp("run")
    return out, cross_validate(data, out)


@pytest.fixture(scope="module")
def clips(data):
    return {f"{clip.dataset}/{clip.name}": clip for folder in data for clip in read_skeletons(folder)}


def test_a_size_that_cannot_be_is_refused_before_anything_is_written(data, tmp_path, capsys):
    given = ["--data", str(data[0]), "--out", str(tmp_path / "out"), "--inner-dim", "12"]
    assert crossval.main(given) == 2
    assert "inner_dim" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_size_beside_a_beginning_of_its_own_size_is_refused(data, tmp_path, capsys, finished):
    given = ["--data", str(data[0]), "--out", str(tmp_path / "out"), "--inner-dim", "16"]
    assert crossval.main([*given, "--init", str(finished[0] / "all")]) == 2
    assert "leave --inner-dim out" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_last_networks_alone_can_be_asked_for(data, tmp_path):
    saw = cross_validate(data, tmp_path / "out", "--only", "all", schedule=2)
    assert sorted(saw) == sorted(f"all/{stream}" for stream in Stream)
    made = Checkpoint.load(tmp_path / "out" / "all" / "bone").provenance
    assert made["selection"] == "last epoch" and made["training"]["epochs"] == 2
    assert not (tmp_path / "out" / "chosen.json").exists()


def test_every_network_is_trained_once(finished):
    _, saw = finished
    folders = ["without01", "without23", "fold0", "fold1", "fold2", "fold3", "all"]
    assert sorted(saw) == sorted(f"{folder}/{stream}" for folder in folders for stream in Stream)


@pytest.mark.parametrize("folder", ["without01", "without23", "fold0", "fold1", "fold2", "fold3"])
@pytest.mark.parametrize("stream", list(Stream))
def test_no_fold_is_scored_by_a_network_that_saw_it(finished, clips, folder, stream):
    out, saw = finished
    held = {int(digit) for digit in folder if digit.isdigit()}
    scored = scores_of(out / folder / stream)["names"].tolist()
    assert sorted(scored) == sorted(name for name, clip in clips.items() if clip.fold in held)
    assert saw[f"{folder}/{stream}"] == {name for name, clip in clips.items() if clip.fold not in held}
    assert Checkpoint.load(out / folder / stream).provenance["without_folds"] == sorted(held)


def test_the_last_networks_see_everything_and_are_not_scored(finished, clips):
    out, saw = finished
    assert all(saw[f"all/{stream}"] == set(clips) for stream in Stream)
    assert not list((out / "all").rglob("scores.npz"))


def test_each_network_of_a_fold_runs_to_the_chosen_epoch(finished):
    out, _ = finished
    chosen = json.loads((out / "chosen.json").read_text())
    assert sorted(chosen) == list("0123")
    for fold, choice in chosen.items():
        assert choice["epoch"] in (1, 2, 3) and choice["inner_fold"] == int(fold) ^ 1
        for stream in Stream:
            assert set(scores_of(out / f"fold{fold}" / stream)) == {"names", f"epoch{choice['epoch']}"}
            trained = Checkpoint.load(out / f"fold{fold}" / stream).provenance["training"]
            assert trained["epochs"] == choice["epoch"] and trained["schedule"] == SCHEDULE


def held_scores(out, clips, fold, epoch, dataset):
    """Labels and logits of one set's clips of a fold, within the set's own glosses."""
    columns = [VOCABULARY.index(gloss) for gloss in SETS[dataset]]
    labels, by_stream = [], {}
    for stream in Stream:
        saved = scores_of(out / f"fold{fold}" / stream)
        rows = [i for i, name in enumerate(saved["names"]) if clips[name].dataset == dataset]
        labels = [SETS[dataset].index(clips[saved["names"][i]].gloss) for i in rows]
        by_stream[str(stream)] = saved[f"epoch{epoch}"][rows][:, columns].astype(float)
    return np.array(labels), by_stream


@pytest.fixture(scope="module")
def measured(finished, data, tmp_path_factory):
    """The folder with the rows that `run_all` measures of the run."""
    place = tmp_path_factory.mktemp("measured")
    arguments = ["--data", *data, "--runs", finished[0], "--out", place, "--cache", place / "cache", "--device", "cpu"]
    assert run_all.main(["--datasets", *SETS, *map(str, arguments)]) == 0
    return place


@pytest.mark.parametrize("dataset", list(SETS))
def test_the_measured_figures_add_up(finished, measured, clips, dataset):
    out, _ = finished
    chosen = json.loads((out / "chosen.json").read_text())
    rows = {(r["streams"], r["fusion"]): r for r in read_rows(measured / "results.csv") if r["dataset"] == dataset}
    own = [clip for clip in clips.values() if clip.dataset == dataset]
    of_folds = material.figures_of_folds(CrossValidation(out), own)
    hits, ranks_all, singles, losses = [], [], [], []
    for fold, choice in sorted(chosen.items()):
        labels, scores = held_scores(out, clips, fold, choice["epoch"], dataset)
        weights = choice["fusion"][dataset]
        fused = sum(weights[s] * scores[s] for s in scores) / sum(weights.values()) / choice["temperature"][dataset]
        ranks = np.array([(row > row[label]).sum() for row, label in zip(fused, labels, strict=True)])
        loss = [np.log(np.exp(row - row[label]).sum()) for row, label in zip(fused, labels, strict=True)]
        of_fold = of_folds[f"fused, fold {fold}"]
        assert of_fold["n"] == len(labels) == 6 and of_fold["num_classes"] == 3
        assert of_fold["top1_instance"] == pytest.approx((ranks == 0).mean())
        assert of_fold["log_loss"] == pytest.approx(np.mean(loss), abs=1e-5)
        hits += (ranks == 0).tolist()
        ranks_all += [(int(label), int(rank)) for label, rank in zip(labels, ranks, strict=True)]
        singles += (scores["bone"].argmax(1) == labels).tolist()
        losses += loss
    row = rows["+".join(Stream), "fitted"]
    assert row["n"] == "24" and row["num_classes"] == "3"
    assert float(row["top1_instance"]) == pytest.approx(np.mean(hits), abs=1e-6)
    per_class = np.mean([np.mean([rank == 0 for label, rank in ranks_all if label == k]) for k in range(3)])
    assert float(row["top1_class"]) == pytest.approx(per_class, abs=1e-6)
    assert float(row["log_loss"]) == pytest.approx(np.mean(losses), rel=1e-4)
    assert float(rows["bone", "none"]["top1_instance"]) == pytest.approx(np.mean(singles), abs=1e-6)


def test_a_measured_run_becomes_weights_that_recognise(finished, measured, data, clips, tmp_path):
    weights, card = tmp_path / "weights" / "tiny", tmp_path / "card.md"
    card.write_text("$figures\n")
    arguments = ["--data", *data, "--out", weights, "--card", card, "--results", measured]
    assert publish.main([str(finished[0]), *map(str, arguments)]) == 0
    clip = next(iter(clips.values()))
    pose = Pose(clip.joints, 15.0, 512, 384, "mediapipe-holistic")
    assert Recognizer.load(weights).recognize(pose).predictions[0].gloss in VOCABULARY
    text = (weights / "README.md").read_text()
    for row in read_rows(measured / "results.csv"):
        if row["fusion"] == "none" and "+" not in row["streams"]:
            top1, low, high = (f"{float(row[f'top1_instance{end}']):.1%}" for end in ("", "_lo", "_hi"))
            assert f"| {row['dataset']} | {row['streams']} | 24 / 3 | {top1} [{low}, {high}] |" in text
    assert len(text.splitlines()) == 2 + 2 * (7 + 4)


def test_a_second_call_trains_nothing(finished, data):
    out, _ = finished
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert cross_validate(data, out) == {}
    assert {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()} == before


@pytest.fixture(scope="module")
def relabelled(tmp_path_factory):
    """The same clips, but with fold 1's labels turned round."""
    folder = tmp_path_factory.mktemp("relabelled")
    turned = {(1, gloss): other for gloss, other in zip("abc", "bca", strict=True)}
    made = [write_set(folder / "alpha", SETS["alpha"], turned), write_set(folder / "beta", SETS["beta"])]
    cross_validate(made, folder / "run", "--only", "inner")
    return json.loads((folder / "run" / "chosen.json").read_text())


def test_a_folds_own_labels_do_not_choose_for_it(finished, relabelled):
    chosen = json.loads((finished[0] / "chosen.json").read_text())
    assert relabelled["1"] == chosen["1"]
    assert relabelled["0"] != chosen["0"]  # fold 1 is the judge there
    assert relabelled["2"] != chosen["2"]  # and training data here


def test_missing_data_is_one_sentence_and_code_2(tmp_path, capsys):
    assert crossval.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "index.csv" in capsys.readouterr().err


def some_folds(data, folder, folds):
    """The set's folds 0 to folds - 1."""
    folder.mkdir()
    rows = list(csv.reader((data[0] / "index.csv").open()))
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *(row for row in rows[1:] if int(row[3]) < folds)])
    (folder / "clips.npz").write_bytes((data[0] / "clips.npz").read_bytes())
    return folder


def test_a_set_is_also_judged_among_all_glosses_of_the_vocabulary(finished, data):
    out, run = finished[0], CrossValidation(finished[0])
    clips = [clip for folder in data for clip in read_skeletons(folder)]
    ((system, found),) = material.figures_among_all(run, clips, "alpha").items()
    right, count = 0, 0
    for fold, choice in run.choices().items():
        saved = {str(stream): scores_of(out / f"fold{fold}" / stream) for stream in Stream}
        for i, name in enumerate(saved["joint"]["names"]):
            if name.startswith("alpha/"):
                weights = choice.fusion["alpha"]
                fused = sum(weights[stream] * each[f"epoch{choice.epoch}"][i] for stream, each in saved.items())
                gloss = next(clip.gloss for clip in clips if f"{clip.dataset}/{clip.name}" == name)
                right, count = right + (VOCABULARY[fused.argmax()] == gloss), count + 1
    assert system == "fused, among all 4 glosses" and (found["n"], found["top1_instance"]) == (count, right / count)
    alone = [clip for clip in clips if clip.dataset == "alpha"]
    assert material.figures_among_all(run, alone, "alpha") == {}


def test_one_fold_is_a_users_error(data, tmp_path, capsys):
    folder = some_folds(data, tmp_path / "few", 1)
    assert crossval.main(["--data", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "two folds" in capsys.readouterr().err


@pytest.mark.parametrize("folds", [2, 3])
def test_without_pairs_of_folds_nothing_is_chosen(data, tmp_path, folds):
    out = tmp_path / "out"
    saw = cross_validate([some_folds(data, tmp_path / "few", folds)], out, "--only", "outer", **QUICK)
    assert sorted({name.split("/")[0] for name in saw}) == [f"fold{k}" for k in range(folds)]
    chosen = json.loads((out / "chosen.json").read_text())
    assert {(c["epoch"], c["inner_fold"], *c["fusion"]["few"].values()) for c in chosen.values()} == {
        (1, None, 0.25, 0.25, 0.25, 0.25)
    }
    assert sum(len(scores_of(out / f"fold{k}" / "bone")["names"]) for k in range(folds)) == 6 * folds


def test_where_it_is_not_wanted_nothing_is_chosen(data, tmp_path):
    out = tmp_path / "out"
    saw = cross_validate([some_folds(data, tmp_path / "few", 4)], out, "--last", "--only", "outer", **QUICK)
    assert sorted({name.split("/")[0] for name in saw}) == [f"fold{k}" for k in range(4)]
    assert {choice["inner_fold"] for choice in json.loads((out / "chosen.json").read_text()).values()} == {None}
    assert json.loads((out / "fold0/bone/config.json").read_text())["provenance"]["selection"] == "last epoch"


def test_networks_go_on_from_those_of_an_earlier_run(data, tmp_path, finished):
    first = finished[0] / "fold0" / "joint"
    config = tiny(epochs=1, schedule=1, learning_rate=1e-7)
    job = module.FoldRun(Stream.JOINT, (0,), tmp_path / "joint", tuple(data), config, init=first)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SMALL_RECIPE", Checkpoint.load(first).recipe)
        module.train_and_score(job)
        with pytest.raises(UserError, match="may have seen other folds"):
            module.train_and_score(replace(job, without=(1,), out=tmp_path / "other"))
    before, after = Checkpoint.load(first), Checkpoint.load(tmp_path / "joint")
    assert after.provenance["init"]["weights_sha256"] == read_json(first / "config.json")["weights_sha256"]
    for name, tensor in before.model.named_parameters():
        assert torch.allclose(tensor, after.model.get_parameter(name), atol=1e-6) or name == "classifier.bias"
    assert not torch.equal(before.model.classifier.weight, after.model.classifier.weight)


def test_networks_begin_from_weights_of_other_sets_only(data, tmp_path, finished):
    """Weights that were trained on all folds of their sets, as published ones are, begin every fold of other sets."""
    other = some_folds([write_set(tmp_path / "made", "ac")], tmp_path / "other", 2)
    weights, out = finished[0] / "all", tmp_path / "out"
    saw = cross_validate([other], out, "--init", str(weights), "--only", "outer", **QUICK)
    assert sorted({name.split("/")[0] for name in saw}) == ["fold0", "fold1"]
    begun = read_json(out / "fold0" / "bone" / "config.json")["provenance"]["init"]
    assert begun["datasets"] == [folder.name for folder in data] and begun["without_folds"] == []
    job = module.FoldRun(Stream.BONE, (0,), tmp_path / "same", tuple(data), tiny(), init=weights / "bone")
    with pytest.raises(UserError, match="may have seen other folds of alpha, beta"):
        module.train_and_score(job)
    renamed = some_folds(data, tmp_path / "renamed", 2)
    with pytest.raises(UserError, match="was trained on 6 of these 6 clips"):
        module.train_and_score(replace(job, data=(renamed,)))
    again = replace(job, data=(other,), without=(1,), init=out / "fold0" / "bone")
    with pytest.raises(UserError, match="may have seen other folds of other"):
        module.train_and_score(again)


def test_networks_of_two_runs_are_not_mixed(data, tmp_path, capsys):
    few, out = some_folds(data, tmp_path / "few", 2), tmp_path / "out"
    cross_validate([few], out, "--only", "outer", **QUICK)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert cross_validate([few], out, "--only", "outer", **QUICK) == {}  # the same again: nothing is left to do
    given = ["--out", str(out), "--schedule", "1", "--data"]
    more = some_folds(data, tmp_path / "more", 3)
    for wrong in ([str(more)], [str(few), "--learning-rate", "1"], [str(few), "--last"]):
        assert crossval.main([*given, *wrong]) == 2
        assert "other data or settings" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
