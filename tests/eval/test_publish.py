"""From a finished cross-validation to a weights folder, on made-up scores and made-up measured rows."""

import csv
import json

import numpy as np
import pytest
import torch
from helpers import tables
from helpers.benchmarks import STREAMS, network, skeleton_set, wlasl100
from helpers.tables import ALL, row
from scipy.special import softmax

from dsta.checkpoint import Checkpoint, Ensemble
from dsta.common import UserError, read_json
from dsta.data import official, read_clip_set, read_skeletons
from dsta.data.clips import PickedClips
from dsta.embedding import familiarity, joint_embedding
from dsta.metrics import fit_fusion
from dsta.model import DSTA, ModelConfig
from dsta.recognize import Recognizer
from dsta.score import score, score_streams
from dsta.streams import Recipe, Stream
from dsta.train.runs import Choice, CrossValidation
from eval import publish
from eval.plan import fold_network, networks_sha256
from leaderboard.results import RESULTS_FILE, write_rows

GLOSSES = list("abcd")
RECIPE = Recipe(window=4, bone="direct", normalise="shoulders")
MEASURED = {
    **{"n": 80, "num_classes": 4, "top1_instance": 0.75, "top1_instance_lo": 0.645, "top1_instance_hi": 0.832},
    **{"top5_instance": 1.0, "top1_class": 0.7, "top5_class": 1.0, "log_loss": 0.9, "ece": 0.04},
}


@pytest.fixture
def scores():
    """Logits of each stream for 160 clips: the joint stream knows much, the others nothing."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 4
    known = 3 * np.eye(4)[labels] + rng.normal(0, 2.5, (160, 4))
    return {str(s): known if s is Stream.JOINT else rng.normal(0, 1, (160, 4)) for s in Stream}, labels


@pytest.fixture
def run(tmp_path, scores):
    """A run folder with two folds, and the set that it is about."""
    logits, labels = scores
    data = tmp_path / "data" / "tiny"
    data.mkdir(parents=True)
    names = [f"clip{i}" for i in range(len(labels))]
    with (data / "index.csv").open("w", newline="") as file:
        rows = [(name, GLOSSES[label], "", i % 2) for i, (name, label) in enumerate(zip(names, labels, strict=True))]
        csv.writer(file).writerows([("clip", "gloss", "source", "fold"), *rows])
    np.savez(data / "clips.npz", **{name: np.full((2, 27, 3), 0.5, np.float32) for name in names})
    folder = CrossValidation(tmp_path / "run")
    for stream in Stream:
        for without in ((0,), (1,), ()):
            out = folder.network(without, stream)
            model = DSTA(ModelConfig(4, inner_dim=8, depth=1)).eval()
            made_by = {"datasets": ["tiny"], "without_folds": list(without)}
            Checkpoint(model, stream, RECIPE, tuple(GLOSSES), "mediapipe-holistic", made_by).save(out)
            for fold in without:
                held = np.array([f"tiny/{name}" for name in names[fold::2]])
                np.savez(out / "scores.npz", names=held, epoch3=logits[stream][fold::2].astype(np.float32))
    choice = Choice(3, fusion={"tiny": dict.fromkeys(map(str, Stream), 0.25)}, temperature={"tiny": 1.0})
    folder.write_choices({0: choice, 1: choice})
    return folder, data


@pytest.fixture
def measured(tmp_path, run):
    """The rows that `run_all` would have measured."""
    folder, data = run
    clips, rows = read_clip_set(data), []
    for streams in (ALL, *map(str, Stream)):
        networks = [fold_network(folder, s, fold, clips) for s in streams.split("+") for fold in (0, 1)]
        fusion = "equal" if "+" in streams else "none"
        rows.append(row("tiny", streams, fusion, weights_sha256=networks_sha256(networks), **MEASURED))
    write_rows(tmp_path / RESULTS_FILE, rows)
    return rows


def call(tmp_path, run, *more):
    folder, data = run
    card = tmp_path / "card.md"
    card.write_text("$figures\n$hardest\n$fusion $temperature $threshold $accuracy $coverage\n$glosses\n")
    arguments = [folder.folder, "--data", data, "--out", tmp_path / "weights" / "tiny", "--card", card]
    return publish.main([*map(str, arguments), "--results", str(tmp_path), *map(str, more)])


@pytest.fixture
def published(tmp_path, run, measured):
    assert call(tmp_path, run) == 0
    return tmp_path / "weights" / "tiny"


def test_without_measured_rows_one_sentence_says_what_to_run_first(tmp_path, run, capsys):
    folder, data = run
    assert call(tmp_path, run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"python eval/run_all.py --datasets tiny --data {data} --runs {folder.folder} --out {tmp_path} first" in line
    assert not (tmp_path / "weights").exists()


def test_rows_of_other_networks_are_not_taken(tmp_path, run, measured, capsys):
    measured[3]["weights_sha256"] = "f" * 64
    write_rows(tmp_path / RESULTS_FILE, measured)
    assert call(tmp_path, run) == 2
    assert "lacks rows that were measured with the networks in" in capsys.readouterr().err


def test_where_something_was_chosen_the_fitted_row_counts(tmp_path, run, measured, capsys):
    folder, _ = run
    folder.write_choices(
        {fold: Choice(3, 1 - fold, 0.0, c.fusion, c.temperature) for fold, c in folder.choices().items()}
    )
    assert call(tmp_path, run) == 2
    assert "lacks rows" in capsys.readouterr().err
    write_rows(tmp_path / RESULTS_FILE, [*measured, measured[0] | {"fusion": "fitted", "top1_instance": 0.8}])
    assert call(tmp_path, run) == 0
    figures = read_json(tmp_path / "weights" / "tiny" / "ensemble.json")["figures"]["tiny"]
    assert figures["top1_instance"] == 0.8 and figures["top1_instance_95"] == [0.645, 0.832]


def test_the_means_of_known_signs_let_nine_tenths_of_held_out_clips_pass(tmp_path, run, measured):
    others, kept_unknown = skeleton_set(tmp_path / "others", ("eel", "a", "fox")), tmp_path / "unknown.json"
    kept_unknown.write_text('[{"gloss": "fox"}]')
    assert call(tmp_path, run, "--background", others, "--background-without", kept_unknown) == 0
    folder = tmp_path / "weights" / "tiny"
    ensemble = Ensemble.load(folder)
    assert set(ensemble.familiar.gloss.tolist()) == {0, 1, 2, 3} and ensemble.familiar.background.shape[1] == 4 * 8
    held = read_json(folder / "ensemble.json")["familiarity"]
    assert ensemble.familiar.threshold == held["threshold"] and "90%" in held["threshold_rule"]
    # these clips are all alike, so that each is as familiar as the threshold
    clips = [clip.joints for clip in read_skeletons(run[1])]
    values = familiarity(joint_embedding(score_streams(ensemble, clips[:3]), ensemble.fusion), ensemble.familiar)
    assert values == pytest.approx(values[0])


def test_a_background_of_known_signs_alone_is_refused(tmp_path, run, measured, capsys):
    others = skeleton_set(tmp_path / "others", ("a", "b"))
    assert call(tmp_path, run, "--background", others) == 2
    assert "no sign outside the vocabulary" in capsys.readouterr().err


def test_the_stream_that_knows_gets_the_weight(published):
    ensemble = json.loads((published / "ensemble.json").read_text())
    assert sum(ensemble["fusion"].values()) == pytest.approx(1, abs=1e-3)
    assert ensemble["fusion"]["joint"] > 0.6


def test_above_the_threshold_four_of_five_are_right(published, scores):
    ensemble = json.loads((published / "ensemble.json").read_text())
    logits, labels = scores
    fused = sum(ensemble["fusion"][s] * logits[s] for s in logits) / ensemble["temperature"]
    confidence, right = softmax(fused, 1).max(1), fused.argmax(1) == labels
    above = confidence >= ensemble["threshold"] - 1e-4
    assert right.mean() < 0.78 < right[above].mean() < 0.85
    assert ensemble["coverage"] == pytest.approx(above.mean(), abs=0.02)


def test_what_a_score_means_is_measured_on_the_held_out_clips(published, scores):
    said = json.loads((published / "ensemble.json").read_text())
    logits, labels = scores
    fused = sum(said["fusion"][s] * logits[s].astype(np.float32) for s in logits) / said["temperature"]
    confidence, right = softmax(fused, 1).max(1), fused.argmax(1) == labels
    steps = said["certainty"]["steps"]
    assert sum(step["clips"] for step in steps) == 160 and len(steps) > 1 and steps[0]["known_people"] == 0
    top = confidence >= steps[-1]["from"]
    assert (steps[-1]["clips"], steps[-1]["right"]) == (top.sum(), pytest.approx(right[top].mean(), abs=1e-4))
    assert Ensemble.load(published).certainty.of(0.999)["clips"] == top.sum()


def test_the_folder_is_ready_for_use_and_guarded(published):
    recognizer = Recognizer.load(published)
    assert recognizer.glosses == tuple(GLOSSES)
    config = published / "bone" / "config.json"
    config.write_text(config.read_text().replace('"window": 4', '"window": 5'))
    with pytest.raises(UserError, match=r"config\.json was changed"):
        Recognizer.load(published)


def test_a_changed_byte_in_the_weights_is_found(published):
    file = published / "joint" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors was changed"):
        Recognizer.load(published)


def test_networks_keep_their_weights(published, run):
    folder, _ = run
    for stream in Stream:
        folders = (folder.network((), stream), published / stream)
        before, after = (Checkpoint.load(path).model.state_dict() for path in folders)
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_card_holds_the_figures(published, scores):
    card = (published / "README.md").read_text()
    assert "$" not in card
    for system in ("fused", "fused, equal weights", *Stream):
        assert f"| tiny | {system} | 80 / 4 | 75.0% [64.5%, 83.2%] | 100.0% | 70.0% | 100.0% | 0.040 |" in card
    assert "a, b, c, d" in card
    logits, labels = scores
    right = sum(logits.values()).argmax(1) == labels
    for fold in (0, 1):
        assert f"| tiny | fused, fold {fold} | 80 / 2 | {right[fold::2].mean():.1%} [" in card


def test_the_ensembles_figures_are_the_measured_ones(published):
    figures = read_json(published / "ensemble.json")["figures"]["tiny"]
    assert figures.pop("top1_instance_95") == [MEASURED["top1_instance_lo"], MEASURED["top1_instance_hi"]]
    assert figures.items() <= MEASURED.items() and len(figures) == 8


@pytest.mark.slow
def test_a_benchmarks_networks_are_fitted_on_validation_and_shown_with_their_rows(tmp_path):
    data = wlasl100(tmp_path / "data", split=("val", "test"))
    named = {entry.label: entry.gloss for entry in official("WLASL100").values()}
    glosses = [named[label] for label in range(100)]
    for i, stream in enumerate(STREAMS):
        network(tmp_path / "weights" / "WLASL100" / stream, glosses, stream, seed=i)
    (tmp_path / "card.md").write_text("$figures\n")
    folder = tmp_path / "weights" / "WLASL100"
    given = [folder, "--data", data, "--out", folder, "--card", tmp_path / "card.md", "--results", tmp_path / "out"]
    assert publish.main([*map(str, given)]) == 2  # nothing was measured
    assert tables.run(tmp_path, datasets=("WLASL100",)) == 0
    assert publish.main([*map(str, given)]) == 0
    written = read_json(folder / "ensemble.json")
    val = read_clip_set(data, "val")
    chosen = [i for i, name in enumerate(val.names) if official("WLASL100")[name].split == "val"]
    logits = {}
    for stream in STREAMS:
        checkpoint = Checkpoint.load(folder / stream)
        logits[stream] = score(checkpoint.model, PickedClips(val.joints, chosen), stream, checkpoint.recipe).logits
    weights, temperature = fit_fusion(logits, val.labels[chosen])
    assert written["fusion"] == {stream: round(weight, 4) for stream, weight in weights.items()}
    assert written["temperature"] == round(temperature, 4) and "100 validation clips" in written["fitted_on"]
    assert sum(step["clips"] for step in written["certainty"]["steps"]) == 100
    row = tables.table(tmp_path)["WLASL100", "test", ALL, "fitted"]
    assert written["figures"]["WLASL100 test"]["top1_instance"] == float(row["top1_instance"])
    card = (folder / "README.md").read_text()
    assert f"| WLASL100 test | fused | {row['n']} / 100 | {float(row['top1_instance']):.1%} " in card
    assert "| WLASL100 val | joint |" in card and "| WLASL100 val+test | fused |" in card
