"""A network whose classes are in another order: found, written, read, and put right at import."""

import json
import pickle
import shutil
from contextlib import chdir, redirect_stdout
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch
from helpers.benchmarks import wlasl100
from helpers.oracle import random_state

from dsta.checkpoint import Checkpoint, from_upstream
from dsta.checkpoint.__main__ import main as checkpoint
from dsta.checkpoint.importing import completed, read_order, write_order
from dsta.common import UserError
from dsta.data import official, read_clip_set
from dsta.identify import main as identify
from dsta.streams import Recipe, prepare

WINDOW = 2  # frames: the network has upstream's full size


def logits(model, held, stream, recipe):
    """(N, K) float32 of all clips in one batch, which is several times as fast as one by one."""
    recipe = replace(recipe, window=WINDOW)
    with torch.inference_mode():
        inputs = np.stack([prepare(clip, stream, recipe) for clip in held.joints])
        return model(torch.from_numpy(inputs).float()).numpy()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A WLASL100 of two clips of each class."""
    return wlasl100(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def permuted(tmp_path_factory, data):
    """An upstream file of the bone stream that knows the clips, its classes in another order; and that order."""
    held = read_clip_set(data)
    state = random_state(100)
    model, features = from_upstream(state), []
    model.classifier.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].numpy()))
    logits(model, held, "bone", Recipe())
    known = np.concatenate(features).astype(np.float64)
    weight = np.linalg.lstsq(known - known.mean(0), np.eye(100)[held.labels], rcond=1e-6)[0].T * 20
    order = np.random.default_rng(1).permutation(100)
    state["fc.weight"], state["fc.bias"] = weight[order], -(weight @ known.mean(0))[order]
    path = tmp_path_factory.mktemp("upstream") / "best.pt"
    torch.save({name: torch.from_numpy(np.asarray(value)).float() for name, value in state.items()}, path)
    return path, order


def identified(file, data, order):
    """What the command line prints; it writes the order of the classes, if that is another one."""
    arguments = [file, "--data", data, "--order", order, "--window", WINDOW, "--device", "cpu"]
    with redirect_stdout(StringIO()) as printed:
        assert identify(list(map(str, arguments))) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def found(tmp_path_factory, data, permuted):
    """The order that identify writes; what it printed lies beside."""
    folder = tmp_path_factory.mktemp("found")
    with chdir(folder):
        (folder / "printed").write_text(identified(permuted[0], data, "order.json"))
    return folder / "order.json"


def imported(file, out, order, stream="bone"):
    arguments = ["import", file, "--dataset", "WLASL100", "--stream", stream, "--order", order, "--out", out]
    return checkpoint(list(map(str, arguments)))


def right(folder, data):
    """(N,) whether each clip's class by number is right, and whether its class by name is."""
    made, held = Checkpoint.load(folder), read_clip_set(data)
    scores = logits(made.model, held, made.stream, made.recipe)
    names = {entry.label: entry.gloss for entry in official("WLASL100").values()}
    best = scores.argmax(1)
    return best == held.labels, np.array([made.glosses[i] for i in best]) == [names[label] for label in held.labels]


@pytest.mark.slow
def test_what_was_permuted_is_put_right_at_import(tmp_path, data, permuted, found, capsys):
    file, order = permuted
    assert read_order(found, 100) == tuple(order.tolist())
    assert imported(file, tmp_path / "bone", found) == 0
    assert f"its classes reordered as {found} says." in capsys.readouterr().out
    by_number, by_name = right(tmp_path / "bone", data)
    assert by_number.mean() > 0.95 and np.array_equal(by_number, by_name)
    assert Checkpoint.load(tmp_path / "bone").provenance["class_order"]["guessed"] == []
    without = ["import", str(file), "--dataset", "WLASL100", "--stream", "bone", "--out", str(tmp_path / "as_is")]
    assert checkpoint(without) == 0 and right(tmp_path / "as_is", data)[0].mean() < 0.05


@pytest.mark.slow
def test_the_advice_is_the_command_that_imports_and_then_there_is_nothing_to_put_right(
    tmp_path, data, found, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(found, tmp_path)
    out = found.with_name("printed").read_text().splitlines()
    assert out[-2] == "The order of 100 of 100 classes is in order.json; with --clips 0 it is learned on all clips."
    command = out[-1].partition("python -m dsta.checkpoint ")[2]
    assert "--stream bone --bone chained --order order.json" in command and checkpoint(command.split()) == 0
    (tmp_path / "order.json").unlink()
    out = identified(tmp_path / "weights" / "WLASL100" / "bone", data, "order.json")
    assert "as its configuration says (bone)" in out and "To import it" not in out
    assert "no other order" in capsys.readouterr().err and not (tmp_path / "order.json").exists()


@pytest.mark.slow
def test_of_a_part_of_the_order_the_known_classes_are_right_and_the_rest_is_told(
    tmp_path, data, permuted, found, capsys
):
    known, order = json.loads(found.read_text()), permuted[1]
    lost = [own for own in range(100) if own % 4 == 0]
    (tmp_path / "part.json").write_text(json.dumps(known | {str(own): None for own in lost}))
    assert imported(permuted[0], tmp_path / "bone", tmp_path / "part.json") == 0
    assert "does not know which classes 25 glosses are" in capsys.readouterr().out
    by_number, by_name = right(tmp_path / "bone", data)
    had = ~np.isin(read_clip_set(data).labels, order[lost])
    assert by_number[had].mean() > 0.95 and np.array_equal(by_number, by_name)
    assert Checkpoint.load(tmp_path / "bone").provenance["class_order"]["guessed"] == sorted(order[lost].tolist())


@pytest.mark.slow
def test_a_prepared_folder_may_have_its_own_order_of_glosses(tmp_path, data, permuted, found, monkeypatch):
    """Its glosses sorted, as of `--labels`: the order is still that of the benchmark, which the import counts in."""
    names = {entry.label: entry.gloss for entry in official("WLASL100").values()}
    folder, held = tmp_path / "WLASL100", read_clip_set(data)
    folder.mkdir()
    glosses = sorted(names.values())
    labels = [glosses.index(names[label]) for label in held.labels]
    (folder / "val_data_joint.npy").symlink_to(data / "val_data_joint.npy")
    (folder / "val_label.pkl").write_bytes(pickle.dumps((list(held.names), labels)))
    about = {"format": 1, "estimator": "hrnet-wholebody", "glosses": glosses}
    (folder / "dataset.json").write_text(json.dumps(about))
    monkeypatch.setattr("dsta.identify.ways", lambda recipe: [("joint", None), ("bone", "chained")])  # two suffice
    identified(permuted[0], folder, tmp_path / "o.json")
    assert (tmp_path / "o.json").read_text() == found.read_text()


def order_of(count, **changes):
    return json.dumps({str(i): i for i in range(count)} | changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('"\udcff"'.encode("utf-8", "surrogateescape"), "is not JSON"),
        ("[0, 1]", "must hold an object"),
        ("3", "must hold an object"),
        (order_of(99), "it has 99 entries"),
        (order_of(300), "it has 300 entries"),
        (order_of(99, x=99), "names are not those from 0 to 99"),
        (order_of(100)[:-1] + ', "5": 5}', "it has 101 entries"),
        (order_of(100, **{"7": 8}), "the class 8 twice"),
        (order_of(100, **{"7": 100}), "the class 100"),
        (order_of(100, **{"7": -1}), "the class -1"),
        (order_of(100, **{"7": "7"}), 'the class "7"'),
        (order_of(100, **{"0": False}), "the class false"),
        (order_of(100, **{"7": [7]}), "the class [7]"),
        (order_of(100, **{"7": {"a": 1}}), "the class"),
        (json.dumps(dict.fromkeys(map(str, range(100)))), "it knows none"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_file_is_one_sentence_and_code_2(tmp_path, permuted, capsys, content, says):
    path = tmp_path / "order.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert imported(permuted[0], tmp_path / "out", path) == 2
    err = capsys.readouterr().err
    assert says in err and str(path) in err and "dsta.identify" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_file_that_is_not_there_or_cannot_be_written_is_told(tmp_path, permuted, capsys):
    assert imported(permuted[0], tmp_path / "out", tmp_path / "none.json") == 2
    assert imported(permuted[0], tmp_path / "out", tmp_path) == 2
    err = capsys.readouterr().err
    assert "none.json is missing" in err and "cannot be read (Is a directory)" in err
    with pytest.raises(UserError, match="cannot be written"):
        write_order(tmp_path / "no" / "order.json", {0: 1}, 2)


def test_what_is_unknown_is_written_as_null(tmp_path):
    write_order(tmp_path / "a.json", {0: 2, 2: 1}, 4)
    assert json.loads((tmp_path / "a.json").read_text()) == {"0": 2, "1": None, "2": 1, "3": None}
    assert read_order(tmp_path / "a.json", 4) == (2, None, 1, None)


@pytest.mark.parametrize(
    ("order", "whole"),
    [
        ((2, 0, 1), [2, 0, 1]),
        ((2, None, 1, None), [2, 0, 1, 3]),  # class 3 keeps its number; of class 1's, 0 is left
        ((None, 2, None, None, 0), [1, 2, 4, 3, 0]),
    ],
)
def test_the_unknown_keep_their_numbers_or_take_what_is_left(order, whole):
    assert completed(order) == whole
