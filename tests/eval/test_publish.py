"""From a finished cross-validation to a weights folder, on made-up scores."""

import csv
import json

import numpy as np
import pytest
import torch
from scipy.special import softmax

from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.model import DSTA, ModelConfig
from dsta.recognize import Recognizer
from dsta.streams import Recipe, Stream
from eval import publish

GLOSSES = list("abcd")
RECIPE = Recipe(window=4, bone="direct", normalise="shoulders")
ROW = {
    **{"n": 80, "num_classes": 4, "top1_instance": 0.75, "top1_instance_95": [0.645, 0.832], "top5_instance": 1.0},
    **{"top1_class": 0.7, "top5_class": 1.0, "log_loss": 0.9, "ece": 0.04},
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
    folder = tmp_path / "run"
    for stream in Stream:
        for fold in (0, 1):
            out = folder / f"fold{fold}" / stream
            out.mkdir(parents=True)
            held = np.array([f"tiny/{name}" for name in names[fold::2]])
            np.savez(out / "scores.npz", names=held, epoch3=logits[stream][fold::2].astype(np.float32))
        model = DSTA(ModelConfig(4, inner_dim=8, depth=1)).eval()
        Checkpoint(model, stream, RECIPE, tuple(GLOSSES), "mediapipe-holistic", {}).save(folder / "all" / stream)
    (folder / "chosen.json").write_text(json.dumps({fold: {"epoch": 3} for fold in ("0", "1")}))
    report = {"tiny": {"pooled": {"fused": ROW}, "folds": {"0": ROW}}}
    (folder / "report.json").write_text(json.dumps(report))
    return folder, data


@pytest.fixture
def published(tmp_path, run):
    folder, data = run
    card = tmp_path / "card.md"
    card.write_text("$figures\n$hardest\n$fusion $temperature $threshold $accuracy $coverage\n$glosses\n")
    out = tmp_path / "weights" / "tiny"
    assert publish.main([str(folder), "--data", str(data), "--out", str(out), "--card", str(card)]) == 0
    return out


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
        before, after = (Checkpoint.load(path / stream).model.state_dict() for path in (folder / "all", published))
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_card_holds_the_figures(published):
    card = (published / "README.md").read_text()
    assert "$" not in card
    assert "| tiny | fused | 80 / 4 | 75.0% [64.5%, 83.2%] | 100.0% | 70.0% | 100.0% | 0.040 |" in card
    assert "a, b, c, d" in card
