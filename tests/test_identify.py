"""Identification of unlabelled weights, on networks whose answer is known because it was trained or shuffled here."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.benchmarks import skeleton_set, upstream_set
from helpers.oracle import random_state

from dsta.checkpoint import Checkpoint
from dsta.common import UserError
from dsta.data import ClipSet
from dsta.identify import Unlabelled, choose_clips, identify, labelled, main, ways
from dsta.model import DSTA, ModelConfig
from dsta.score import Scores
from dsta.streams import Recipe, Stream, prepare
from dsta.train import SMALL_RECIPE

CLASSES, WINDOW = 6, 8


def signs(per_class, seed, frames=9):
    """Clips of made-up signs: each class has a pose and a way of moving; takes vary. (clips, labels)"""
    kinds, rng = np.random.default_rng(99), np.random.default_rng(seed)
    pose = kinds.uniform(-60, 60, (CLASSES, 1, 27, 2))
    way = kinds.uniform(-40, 40, (CLASSES, 1, 27, 2))
    labels = np.repeat(np.arange(CLASSES), per_class)
    turn = np.sin(2 * np.pi * np.linspace(0, 1, frames))[:, None, None]
    clips = np.ones((len(labels), frames, 27, 3), np.float32)
    clips[..., :2] = 256 + pose[labels] + way[labels] * turn + rng.normal(0, 25, (len(labels), 1, 27, 2))
    clips[..., :2] += rng.normal(0, 4, (len(labels), frames, 27, 2))
    return clips, labels


def held_of(clips, labels, glosses=(), folder="made_up", estimator="hrnet-wholebody"):
    names = tuple(map(str, range(len(labels))))
    return ClipSet(Path(folder), names, labels, list(clips), glosses, np.full(len(labels), -1), (), estimator, ())


def trained(stream, bone):
    """A compact network that has seen some takes of each sign as one stream."""
    torch.manual_seed(0)
    recipe = Recipe(window=WINDOW, bone=bone)
    clips, labels = signs(12, seed=0)
    x, y = torch.from_numpy(np.stack([prepare(clip, stream, recipe) for clip in clips])), torch.from_numpy(labels)
    model = DSTA(ModelConfig(CLASSES, inner_dim=16, depth=1)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(50):
        chosen = torch.randperm(len(y))[:24]
        loss = F.cross_entropy(model(x[chosen]), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Unlabelled("net", model.eval(), recipe)


@pytest.fixture(scope="module")
def held():
    return held_of(*signs(8, seed=5))


@pytest.fixture(scope="module")
def chained():
    return trained("bone", "chained")


def blank(classes, glosses=()):
    return Unlabelled("net", DSTA(ModelConfig(classes, inner_dim=8, depth=1)), Recipe(), glosses)


def reordered(network, seed=1):
    """The same network with its classes in another order: its class i is the data's class order[i]."""
    order = np.random.default_rng(seed).permutation(network.model.config.num_classes)
    model = deepcopy(network.model)
    for tensor in (model.classifier.weight.data, model.classifier.bias.data):
        tensor.copy_(tensor[order])
    return replace(network, model=model), order


@pytest.mark.parametrize(
    ("stream", "bone"), [("bone", "chained"), pytest.param("bone", "direct", marks=pytest.mark.slow)]
)
def test_a_trained_network_is_identified(stream, bone, held, chained):
    network = chained if (stream, bone) == ("bone", "chained") else trained(stream, bone)
    found = identify(network, held, clips=0)
    assert found.verdict == "identified" and (found.ways[0].stream, found.ways[0].bone) == (stream, bone)
    assert found.ways[0].hits.mean() > 0.9 > 0.6 > found.ways[1].hits.mean()
    assert len(found.ways) == 6 and found.clips == 48 and found.chance == pytest.approx(1 / 6)


def test_another_order_of_the_classes_is_found(held, chained):
    network, order = reordered(chained)
    found = identify(network, held, clips=0)
    assert found.verdict == "permuted" and (found.ways[0].stream, found.ways[0].bone) == ("bone", "chained")
    assert found.ways[0].hits.mean() < 0.3 and found.ways[0].hits_renamed.mean() > 0.9
    assert found.classes == dict(enumerate(order.tolist()))
    assert "another order" in found.sentence


def identified(monkeypatch, right, sure=(), order=range(CLASSES)):
    """What is found where, in place of a network, ways in `right` know every clip, its class i being order[i], with the
    sureness in `sure`, and others say class 0."""

    def score(model, clips, stream, recipe, *_):
        meant = [order[int(clip[0, 0, 0])] for clip in clips]
        way = (stream, recipe.bone if Stream(stream).is_bone else None)
        logits = np.eye(CLASSES)[meant if way in right else np.zeros(len(clips), int)] * dict(sure).get(way, 1)
        return Scores(logits, np.zeros((len(clips), 1)))

    monkeypatch.setattr("dsta.identify.score", score)
    labels = np.repeat(np.arange(CLASSES), 8)
    clips = np.broadcast_to(labels[:, None, None, None], (48, 1, 27, 3)).astype(np.float32)
    return identify(blank(CLASSES), held_of(clips, labels))


@pytest.mark.parametrize(("likelier", "other"), [("chained", "direct"), ("direct", "chained")])
def test_ways_that_the_clips_do_not_tell_apart_are_both_named(monkeypatch, likelier, other):
    both = {("bone_motion", "chained"), ("bone_motion", "direct")}
    found = identified(monkeypatch, both, {("bone_motion", likelier): 9})
    assert found.verdict == "undecided" and (found.ways[0].stream, found.ways[0].bone) == ("bone_motion", likelier)
    assert f"bone_motion with {other} bones (100.0%)" in found.sentence
    assert f"though bone_motion with {likelier} bones has the lowest log-loss" in found.sentence


@pytest.mark.parametrize("stream", ["joint", "joint_motion"])
def test_joint_streams_have_no_rule(monkeypatch, stream):
    found = identified(monkeypatch, {(stream, None)})
    assert found.verdict == "identified" and found.ways[0].bone is None
    assert found.sentence.startswith(f"It is {stream}: 100.0%")


def test_a_network_for_other_signs_is_not_taken_for_a_permuted_one(monkeypatch):
    """It tells the clips apart in every way of reading; a permuted one does so in one."""
    every = {(stream, rule) for stream in Stream for rule in (None, "chained", "direct")}
    for right, verdict in ((every, "unknown"), ({("joint", None)}, "permuted")):
        assert identified(monkeypatch, right, order=(3, 4, 5, 0, 1, 2)).verdict == verdict


def test_an_untrained_network_is_unknown(held):
    torch.manual_seed(3)
    network = Unlabelled("net", DSTA(ModelConfig(CLASSES, inner_dim=8, depth=2)).eval(), Recipe(window=WINDOW))
    found = identify(network, held, clips=0)
    assert found.verdict == "unknown" and "Usual causes" in found.sentence and found.classes == {}


# --- the parts


def test_ways_are_six_and_four_for_shoulders():
    bones = [[(stream, "chained"), (stream, "direct")] for stream in ("bone", "bone_motion")]
    six = [("joint", None), *bones[0], ("joint_motion", None), *bones[1]]
    assert ways(Recipe()) == six
    assert ways(SMALL_RECIPE) == [(s, r) for s, r in six if r != "chained"]


def test_sample_keeps_four_of_a_class_and_the_shares():
    labels = np.repeat(np.arange(100), 10)
    few = choose_clips(labels, 80)
    assert len(few) == 80 and set(np.bincount(labels[few])[np.unique(labels[few])]) == {4}
    unequal = np.repeat([0, 1], [300, 100])
    assert np.bincount(unequal[choose_clips(unequal, 200)]).tolist() == [150, 50]
    assert np.array_equal(choose_clips(labels, 80), few) and np.any(np.diff(np.unique(labels[few])) > 1)
    assert len(choose_clips(labels, 0)) == len(choose_clips(labels, 5000)) == 1000


def test_glosses_decide_where_both_name_them():
    network = blank(3, ("c", "a", "x"))
    positions, labels = labelled(network, held_of(np.zeros((4, 1, 27, 3)), np.array([0, 1, 2, 0]), ("a", "b", "c")))
    assert positions.tolist() == [0, 2, 3] and labels.tolist() == [1, 0, 1]
    with pytest.raises(UserError, match="none of the glosses"):
        labelled(network, held_of(np.zeros((1, 1, 27, 3)), np.array([0]), ("d",)))


def test_another_class_count_is_told():
    for label, folder in ((3, "made_up"), (0, "data/WLASL100")):
        with pytest.raises(UserError, match="3 classes"):
            labelled(blank(3), held_of(np.zeros((1, 1, 27, 3)), np.array([label]), folder=folder))


# --- the command line


@pytest.fixture
def data(tmp_path, held):
    """The made-up signs as upstream's arrays, in double precision."""
    folder = upstream_set(tmp_path / "signs", held.names, held.labels, dtype=np.float64)
    clips = np.stack(held.joints).transpose(0, 3, 1, 2)[..., None]
    np.save(folder / "val_data_joint.npy", clips.astype(np.float64))
    return folder


def saved(network, stream, folder, glosses=tuple("abcdef"), estimator="hrnet-wholebody"):
    Checkpoint(network.model, Stream(stream), network.recipe, glosses, estimator, {}).save(folder)
    return str(folder)


def test_a_weights_folder_is_identified_against_its_own_word(tmp_path, data, chained, capsys):
    assert main([saved(chained, "joint", tmp_path / "joint"), "--data", str(data), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "It is bone with chained bones" in out and "though its configuration says joint" in out
    assert "does not matter to the joint streams" in out and len(out.splitlines()) == 9


def test_the_order_is_written_and_json_is_one_object(tmp_path, data, chained, capsys):
    network, order = reordered(chained)
    file = saved(network, "bone", tmp_path / "bone")
    assert main([file, "--data", str(data), "--json", "--order", str(tmp_path / "order.json")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verdict"] == "permuted" and result["clips"] == 48 and len(result["ways"]) == 6
    best = result["ways"][0]
    assert best["stream"] == "bone" and best["bone"] == "chained"
    assert best["renamed_95"][0] < best["renamed"] <= best["renamed_95"][1] + 1e-9
    written = json.loads((tmp_path / "order.json").read_text())
    assert written == {str(own): label for own, label in enumerate(order.tolist())}


def test_an_upstream_file_is_scored_in_six_ways(tmp_path, data, capsys):
    file = tmp_path / "up.pt"
    torch.save({name: torch.from_numpy(np.array(value)) for name, value in random_state(CLASSES).items()}, file)
    assert main([str(file), "--data", str(data), "--clips", "6", "--window", "4"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9


def test_a_skeleton_set_is_understood_another_estimator_is_told_and_views_are_not_averaged(tmp_path, capsys):
    model = DSTA(ModelConfig(3, in_channels=5, inner_dim=8, depth=1)).eval()
    network = Unlabelled("net", model, replace(SMALL_RECIPE, window=4))
    file = saved(network, "joint", tmp_path / "w", ("hello", "deaf", "book"))
    assert main([file, "--data", str(skeleton_set(tmp_path / "set"))]) == 0
    captured = capsys.readouterr()
    assert "keypoints of hrnet-wholebody, these are mediapipe-holistic's" in captured.err
    assert "one bone rule" in captured.out and len(captured.out.splitlines()) == 7
    assert SMALL_RECIPE.views > 1 and Unlabelled.read(Path(file)).recipe == replace(SMALL_RECIPE, window=4, views=1)


def test_mistakes_are_told(tmp_path, data, chained, capsys):
    assert main([str(tmp_path / "no.pt"), "--data", str(data)]) == 2
    file = saved(chained, "bone", tmp_path / "w", estimator="x")
    assert main([file, "--data", str(tmp_path)]) == 2
    if not torch.cuda.is_available():
        assert main([file, "--data", str(data), "--device", "cuda"]) == 2
        assert "No GPU" in capsys.readouterr().err


def test_clips_of_one_gloss_tell_nothing_apart():
    clips, labels = signs(4, seed=5)
    network = Unlabelled("net", DSTA(ModelConfig(CLASSES, inner_dim=8, depth=1)), Recipe(window=WINDOW))
    with pytest.raises(UserError, match="of one gloss"):
        identify(network, held_of(clips[:4], labels[:4]))
