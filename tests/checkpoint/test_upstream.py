"""Upstream's checkpoints: every format read, no program run, names and shapes translated strictly."""

import hashlib
import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.oracle import ORACLE, needs_oracle, random_state, upstream_shapes, upstream_state
from safetensors.torch import save_file

from dsta.checkpoint import from_upstream, read_upstream
from dsta.common import UserError
from dsta.model import ModelConfig


@pytest.fixture(scope="module")
def state():
    return random_state(4)


# --- names and shapes


@needs_oracle
def test_made_up_state_has_upstreams_names_and_shapes():
    given = {name: value.shape for name, value in upstream_state(2000).items()}
    assert upstream_shapes(2000) == given and len(given) == 369


@needs_oracle
def test_the_oracles_weights_are_the_references():
    meta = json.loads((ORACLE / "meta_model.json").read_text())
    for num_classes in (100, 500, 2000):
        digest = hashlib.sha256()
        for name, value in sorted(upstream_state(num_classes).items()):
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
        assert digest.hexdigest() == meta[f"c{num_classes}"]["weights_sha256"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {name: torch.from_numpy(np.array(value)) for name, value in state.items()},
        lambda state: {"weights": state, "epoch": 7},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"weights": {f"module.{name}": value.astype(np.float64) for name, value in state.items()}},
        lambda state: dict(reversed(state.items())),
        lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
        lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}, "epoch": 3},
        lambda state: {"model": {"state_dict": state}},
    ],
    ids=["tensors", "weights", "module", "float64", "order", "compiled", "both", "lightning", "nested"],
)
def test_every_form_of_a_checkpoint_gives_the_same_network_in_float32_and_evaluation_mode(state, wrap):
    expected, model = from_upstream(state).state_dict(), from_upstream(wrap(state))
    assert not model.training and model.config == ModelConfig(4)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in expected.items())


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
    others = ["fc.bias", "layers.2.san.attention0s", "layers.1.residual.pool.net.0.weight"]
    broken |= dict.fromkeys(others, np.zeros((3, 5), np.float32))
    with pytest.raises(UserError) as error:
        from_upstream(broken)
    missing, unexpected, misshapen = str(error.value).split(";")
    assert "missing" in missing and "temporal.1.branches.0.conv.bias" in missing and "running_var" in missing
    assert "unexpected" in unexpected and "layers.9.surprise" in unexpected and "extra" in unexpected
    assert "shape" in misshapen and "layers.3.san.mlp.fc1.weight" in misshapen
    assert "layers.0.san.Linear_weight" in misshapen and all(name in misshapen for name in others)


@pytest.mark.parametrize("other", [{}, {"weights": {}}, {"conv1.weight": np.zeros(3)}, {"fc.weight": np.zeros(3)}])
def test_other_networks_are_refused(other):
    with pytest.raises(UserError, match="not a DSTA-SLR checkpoint"):
        from_upstream(other)


def test_a_keypoint_file_is_no_damaged_checkpoint(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=np.zeros((3, 27, 3)), fps=25.0, estimator="mediapipe-holistic")
    with pytest.raises(UserError, match=r"not a DSTA-SLR checkpoint: .* no tensors, estimator"):
        from_upstream(read_upstream(tmp_path / "a.npz")[0])


def test_several_networks_and_our_own_names_are_told(state):
    with pytest.raises(UserError, match=r"several networks \(fc\.weight and ema\.fc\.weight\)"):
        from_upstream({**state, **{f"ema.{name}": value for name, value in state.items()}})
    with pytest.raises(UserError, match="own names"):
        from_upstream(from_upstream(state).state_dict())
    with pytest.raises(UserError, match=r"unexpected criterion\.weight"):
        from_upstream({"criterion.weight": np.zeros(3), **{f"model.{name}": value for name, value in state.items()}})


@pytest.mark.parametrize("entry", [{"optimizer": {"lr": 0.1}}, {"config": "joint"}])
def test_entries_that_are_no_tensors_are_named(state, entry):
    with pytest.raises(UserError, match=next(iter(entry))):
        from_upstream({**state, **entry})


# --- files


def tensors(state):
    return OrderedDict((name, torch.from_numpy(np.array(value))) for name, value in state.items())


def as_main_py_saves(state):
    """The dictionary of upstream's main.py, with what others of its forks add."""
    momentum = {0: {"momentum_buffer": torch.ones(2, 2)}, 1: {"momentum_buffer": None}}
    group = {"lr": np.float64(0.001), "momentum": 0.9, "nesterov": True, "foreach": None, "params": [0, 1]}
    return {
        "weights": tensors(state),
        "optimizer": {"state": momentum, "param_groups": [group]},
        "lr": 0.1 * 0.1 ** np.sum(np.array([150, 200]) <= 188),
        "epoch": 188,
        "best_acc": np.float32(0.5),
        "best_epoch": np.int64(188),
        "numpy_rng": np.random.get_state(),
        "torch_rng": torch.get_rng_state(),
    }


def write(path, content, **options):
    torch.save(content, path, **options)
    return path


LEGACY = {"_use_new_zipfile_serialization": False}
FORMATS = pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])


@FORMATS
@pytest.mark.parametrize("form", [tensors, as_main_py_saves], ids=["bare", "main.py"])
def test_what_upstream_saves_is_read(tmp_path, state, form, options):
    read, beside = read_upstream(write(tmp_path / "a.pt", form(state), **options))
    assert set(read) == set(state)
    assert all(np.array_equal(read[name].numpy(), value) for name, value in state.items())
    numbers = {"lr": pytest.approx(0.01), "epoch": 188, "best_acc": 0.5, "best_epoch": 188}
    assert beside == (numbers if form is as_main_py_saves else {})


def test_numpys_older_module_names_are_read(tmp_path, state):
    """numpy 1 wrote `numpy.core`, numpy 2 writes `numpy._core`."""
    content = {"weights": tensors(state), "lr": np.float64(0.25)}
    new = write(tmp_path / "new.pt", content, **LEGACY).read_bytes()
    assert b"numpy._core.multiarray" in new
    (tmp_path / "old.pt").write_bytes(new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_upstream(tmp_path / "old.pt")[1] == {"lr": 0.25}


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_the_same_names_in_other_formats_are_read(tmp_path, state, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, **state)
    else:
        save_file(dict(tensors(state)), path)
    read, _ = read_upstream(path)
    assert all(np.array_equal(read[name].numpy(), value) for name, value in state.items())


@FORMATS
def test_weights_saved_on_a_gpu_are_read_without_one(tmp_path, state, monkeypatch, options):
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:3")
        path = write(tmp_path / "a.pt", {"weights": tensors(state)}, **options)
    assert b"cuda:3" in path.read_bytes()
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path, weights_only=True)
    read, _ = read_upstream(path)
    assert {tensor.device.type for tensor in read.values()} == {"cpu"}
    assert torch.equal(read["fc.weight"], tensors(state)["fc.weight"])


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


class Hungry:
    def __reduce__(self):
        return bytearray, (2**40,)


@FORMATS
@pytest.mark.parametrize("wrap", [lambda bad, state: {"weights": state, "x": bad}, lambda bad, state: [bad]])
@pytest.mark.parametrize("bad", [Bomb(), Hungry(), Path("a")], ids=["program", "memory", "path"])
def test_a_file_that_asks_for_more_than_weights_is_refused_and_not_run(tmp_path, monkeypatch, bad, wrap, options):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.pt", wrap(bad, {"fc.weight": torch.zeros(2)}), **options)
    with pytest.raises(UserError, match=r"asks to run .*nothing was run"):
        read_upstream(path)
    assert not Path("executed").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_plain_pickle_is_refused_and_not_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"weights": Bomb()}, protocol))
    with pytest.raises(UserError, match="nothing was run"):
        read_upstream(tmp_path / "a.pkl")
    assert not Path("executed").exists()


def test_a_forged_numpy_object_never_reaches_numpy(tmp_path):
    """A dtype whose state makes numpy read numbers as pointers would crash the process, were it built."""

    class Forged:
        def __reduce__(self):
            return np._core.multiarray.scalar, (np.dtype("O"), b"12345678")

    assert read_upstream(write(tmp_path / "a.pt", {"weights": {}, "lr": Forged()})) == ({}, {})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "give the file"),
        (".", "give the file"),
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>Google Drive can't scan this file</body></html>", "web page"),
        (b"\n  <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "Git LFS"),
        (b"hello world, this is a text", "cannot be read"),
        (b"PK\x03\x04 not a zip", "cannot be read"),
        (bytes(100), "cannot be read"),
        ((2**62).to_bytes(8, "little") + b'{"a":1}', "cannot be read"),
        (pickle.dumps({"fc.weight": np.zeros(3)}), "torch did not write"),
    ],
    ids=["missing", "folder", "empty", "html", "html2", "lfs", "text", "zip", "zeros", "huge header", "numpy pickle"],
)
def test_what_is_no_checkpoint_is_told_in_one_sentence(tmp_path, content, told):
    path = tmp_path / "a.pt"
    if content == ".":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=told) as error:
        read_upstream(path)
    assert "\n" not in str(error.value) and "a.pt" in str(error.value)


@FORMATS
@pytest.mark.parametrize("share", [0.001, 0.1, 0.9, 0.9999])
def test_a_truncated_file_is_told(tmp_path, state, options, share):
    path = write(tmp_path / "a.pt", tensors(state), **options)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="cannot be read"):
        read_upstream(path)


def test_a_changed_bit_is_told(tmp_path, state):
    """torch itself reads such a file without a word."""
    path = write(tmp_path / "a.pt", tensors(state))
    content = bytearray(path.read_bytes())
    content[content.find(state["fc.weight"].tobytes()) + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="check sum"):
        read_upstream(path)


def test_claims_beyond_the_file_are_told(tmp_path):
    huge = torch.zeros(1).expand(10**6, 10**6)
    with pytest.raises(UserError, match="claims more"):
        read_upstream(write(tmp_path / "a.pt", {"fc.weight": huge}))
    with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"")
    content = bytearray((tmp_path / "b.pt").read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (2**32 - 2).to_bytes(4, "little")
    (tmp_path / "b.pt").write_bytes(content)
    with pytest.raises(UserError, match="claims to hold 4 GB"):
        read_upstream(tmp_path / "b.pt")


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], 7, "weights"])
def test_a_file_without_names_is_told(tmp_path, content):
    with pytest.raises(UserError, match="no tensors by name"):
        read_upstream(write(tmp_path / "a.pt", content))


def test_weights_of_a_diverged_training_are_told(tmp_path, state):
    broken = tensors(state)
    broken["layers.2.fc1c.bias"] = torch.full_like(broken["layers.2.fc1c.bias"], torch.nan)
    with pytest.raises(UserError, match=r"NaN or infinity in 1 tensors, layers\.2\.fc1c\.bias"):
        read_upstream(write(tmp_path / "a.pt", broken))


def test_reading_leaves_torchs_own_list_as_it_was(tmp_path, state):
    before = set(map(str, torch.serialization.get_safe_globals()))
    read_upstream(write(tmp_path / "a.pt", as_main_py_saves(state)))
    assert set(map(str, torch.serialization.get_safe_globals())) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(write(tmp_path / "b.pt", {"lr": np.float64(1)}), weights_only=True)
