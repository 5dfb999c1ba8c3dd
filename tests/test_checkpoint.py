"""Weights on disk: strict import, exact round trips, and damage that is told."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import needs_oracle, random_state, upstream_shapes, upstream_state

from dsta import checkpoint as module
from dsta.checkpoint import CONFIG_FILE, WEIGHTS_FILE, Checkpoint, from_upstream
from dsta.errors import UserError
from dsta.files import replace_file
from dsta.model import DSTA, ModelConfig
from dsta.streams import Recipe, Stream

GLOSSES = ("ja", "nein", "groß")


def tiny(seed=0):
    torch.manual_seed(seed)
    model = DSTA(ModelConfig(3, in_channels=5, inner_dim=8, depth=2))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.3)
    recipe = Recipe(window=8, bone="direct", normalise="shoulders", hand_local=True)
    return Checkpoint(model.eval(), Stream.BONE, recipe, GLOSSES, "mediapipe-holistic", {"seed": seed})


def logits(checkpoint):
    with torch.inference_mode():
        return checkpoint.model(torch.linspace(-1, 1, 2 * 5 * 8 * 27).view(2, 5, 8, 27))


@pytest.fixture(scope="module")
def state():
    return random_state(4)


@pytest.fixture
def folder(tmp_path):
    tiny().save(tmp_path / "bone")
    return tmp_path / "bone"


def change_config(folder, **values):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# --- import from upstream


@needs_oracle
def test_made_up_state_has_upstreams_names_and_shapes():
    given = {name: value.shape for name, value in upstream_state(2000).items()}
    assert upstream_shapes(2000) == given and len(given) == 369


@needs_oracle
def test_the_oracles_weights_are_the_references():
    meta = json.loads((Path(module.__file__).parents[2] / "shared/oracle/meta_model.json").read_text())
    for num_classes in (100, 500, 2000):
        digest = hashlib.sha256()
        for name, value in sorted(upstream_state(num_classes).items()):
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
        assert digest.hexdigest() == meta[f"c{num_classes}"]["weights_sha256"]


def test_import_gives_float32_in_evaluation_mode(state):
    model = from_upstream(state)
    assert not model.training and model.config == ModelConfig(4)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {name: torch.from_numpy(np.array(value)) for name, value in state.items()},
        lambda state: {"weights": state, "epoch": 7},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"weights": {f"module.{name}": value.astype(np.float64) for name, value in state.items()}},
        lambda state: dict(reversed(state.items())),
    ],
    ids=["tensors", "weights", "module", "float64", "order"],
)
def test_every_form_of_a_checkpoint_gives_the_same_network(state, wrap):
    expected, made = from_upstream(state).state_dict(), from_upstream(wrap(state)).state_dict()
    assert all(torch.equal(made[name], tensor) for name, tensor in expected.items())


def test_import_takes_in_every_tensor_but_the_graph(state):
    own = from_upstream(state).state_dict()
    total = sum(np.size(value) for name, value in state.items() if not name.endswith(".A"))
    assert sum(tensor.numel() for tensor in own.values()) == total
    assert torch.equal(own["blocks.1.spatial.project.weight"], torch.from_numpy(state["layers.1.san.Linear_weight"].T))


def test_missing_unexpected_and_misshapen_tensors_are_each_named(state):
    broken = dict(state)
    del broken["layers.1.tcn2.branches.0.conv.bias"], broken["data_bn.running_var"]
    broken["layers.9.surprise"] = broken["extra"] = np.zeros(2, np.float32)
    broken["layers.3.san.mlp.fc1.weight"] = np.zeros((1024, 255), np.float32)
    broken["layers.0.san.Linear_weight"] = np.zeros((64, 3), np.float32)
    with pytest.raises(UserError) as error:
        from_upstream(broken)
    missing, unexpected, misshapen = str(error.value).split(";")
    assert "missing" in missing and "temporal.1.branches.0.conv.bias" in missing and "running_var" in missing
    assert "unexpected" in unexpected and "layers.9.surprise" in unexpected and "extra" in unexpected
    assert "shape" in misshapen and "layers.3.san.mlp.fc1.weight" in misshapen
    assert "layers.0.san.Linear_weight" in misshapen


@pytest.mark.parametrize("name", ["fc.bias", "layers.2.san.attention0s", "layers.1.residual.pool.net.0.weight"])
def test_a_single_misshapen_tensor_is_named(state, name):
    with pytest.raises(UserError, match=name):
        from_upstream({**state, name: np.zeros((3, 5), np.float32)})


@pytest.mark.parametrize("other", [{}, {"weights": {}}, {"conv1.weight": np.zeros(3)}, {"fc.weight": np.zeros(3)}])
def test_other_networks_are_refused(other):
    with pytest.raises(UserError, match="not a DSTA-SLR checkpoint"):
        from_upstream(other)


@pytest.mark.parametrize("entry", [{"optimizer": {"lr": 0.1}}, {"config": "joint"}])
def test_entries_that_are_no_tensors_are_named(state, entry):
    with pytest.raises(UserError, match=next(iter(entry))):
        from_upstream({**state, **entry})


# --- save and load


def test_round_trip_is_exact(folder):
    loaded, saved = Checkpoint.load(folder), tiny()
    assert torch.equal(logits(loaded), logits(saved))
    assert not loaded.model.training
    for field in ("stream", "recipe", "glosses", "estimator", "provenance"):
        assert getattr(loaded, field) == getattr(saved, field)
    assert {path.name for path in folder.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.6, 0.999999])
def test_a_changed_byte_of_the_weights_is_told(folder, share):
    path = folder / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="sha256"):
        Checkpoint.load(folder)


def test_truncated_weights_are_told(folder):
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=WEIGHTS_FILE):
        Checkpoint.load(folder)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_told(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        Checkpoint.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}"])
def test_a_config_that_is_none_is_told(folder, content):
    (folder / CONFIG_FILE).write_bytes(content)
    with pytest.raises(UserError, match=CONFIG_FILE):
        Checkpoint.load(folder)


@pytest.mark.parametrize("key", ["model", "stream", "recipe", "estimator", "weights_sha256", "provenance", "glosses"])
def test_a_missing_key_of_the_config_is_told(folder, key):
    config = json.loads((folder / CONFIG_FILE).read_text())
    del config[key]
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(UserError, match=key):
        Checkpoint.load(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"glosses": ["ja", "nein"]},
        {"glosses": 3},
        {"stream": "bones"},
        {"recipe": {**tiny().recipe.to_dict(), "smoothing": 3}},
        {"recipe": {**tiny().recipe.to_dict(), "hand_local": False}},
        {"recipe": {**tiny().recipe.to_dict(), "bone": "chainde"}},
        {"recipe": {**tiny().recipe.to_dict(), "window": "8"}},
        {"model": {**tiny().model.config.to_dict(), "inner_dim": 16}},
        {"model": {**tiny().model.config.to_dict(), "inner_dim": "8"}},
        {"model": {**tiny().model.config.to_dict(), "layers": 4}},
        {"model": {**tiny().model.config.to_dict(), "heads": 4}},
        {"weights_sha256": "0" * 64},
    ],
    ids=lambda values: json.dumps(values)[:60],
)
def test_a_config_that_does_not_fit_is_told(folder, values):
    change_config(folder, **values)
    with pytest.raises(UserError):
        Checkpoint.load(folder)


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_pickle_in_place_of_the_weights_is_not_executed(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for content in (pickle.dumps(Bomb()), pickle.dumps({"a": Bomb()}, 2)):
        (folder / WEIGHTS_FILE).write_bytes(content)
        change_config(folder, weights_sha256=hashlib.sha256(content).hexdigest())
        with pytest.raises(UserError, match="damaged"):
            Checkpoint.load(folder)
    assert not Path("executed").exists()


@pytest.mark.parametrize("failing", [WEIGHTS_FILE, CONFIG_FILE])
def test_a_save_that_fails_leaves_the_old_files(folder, monkeypatch, failing):
    before, write = logits(Checkpoint.load(folder)), Path.write_bytes

    def full_disk(path, content):
        if path.name.startswith(failing):
            write(path, content[: len(content) // 2])
            raise OSError("no space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        tiny(seed=1).save(folder)
    monkeypatch.undo()
    assert torch.equal(logits(Checkpoint.load(folder)), before)


def test_saving_again_replaces(folder):
    tiny(seed=1).save(folder)
    assert torch.equal(logits(Checkpoint.load(folder)), logits(tiny(seed=1)))
    assert not torch.equal(logits(tiny(seed=1)), logits(tiny()))


def test_replace_file_leaves_the_old_file_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "a"
    replace_file(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
