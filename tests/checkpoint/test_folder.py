"""Weights on disk: exact round trips, damage that is told, import from upstream."""

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.oracle import random_state

from dsta.checkpoint import CONFIG_FILE, WEIGHTS_FILE, Checkpoint, Seen, from_upstream, import_upstream
from dsta.checkpoint import folder as module
from dsta.checkpoint.__main__ import main
from dsta.checkpoint.seen import SEEN_FILE
from dsta.common import UserError, replace_file
from dsta.data import official
from dsta.data.overlap import Fingerprints
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


@pytest.fixture
def folder(tmp_path):
    tiny().save(tmp_path / "bone")
    return tmp_path / "bone"


def change_config(folder, **values):
    path = folder / CONFIG_FILE
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


# --- save and load


def test_round_trip_is_exact(folder):
    loaded, saved = Checkpoint.load(folder), tiny()
    assert torch.equal(logits(loaded), logits(saved))
    assert not loaded.model.training
    for field in ("stream", "recipe", "glosses", "estimator", "provenance"):
        assert getattr(loaded, field) == getattr(saved, field)
    assert {path.name for path in folder.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}


def prints(*numbers, ids=0):
    codes = np.array(numbers, np.int8)[:, None].repeat(12, 1)
    return Fingerprints(codes, np.full(len(codes), ids, np.uint64))


def test_what_a_network_has_seen_travels_with_it(tmp_path):
    seen = Seen(prints(90, 10), prints(50, ids=2**63)).after(Seen(prints(10, 30), whole=False))
    replace(tiny(), seen=seen).save(tmp_path)
    loaded = Checkpoint.load(tmp_path).seen
    assert loaded.trained.codes[:, 0].tolist() == [10, 30, 90] and not loaded.whole
    assert loaded.chose.codes[:, 0].tolist() == [50] and loaded.chose.ids.tolist() == [2**63]
    codes = np.random.default_rng(0).integers(-99, 99, (10_000, 12), np.int8)
    many = Seen(Fingerprints(codes, np.zeros(10_000, np.uint64)))
    assert len(many.to_bytes()) < 121_000
    tiny().save(tmp_path)
    assert Checkpoint.load(tmp_path).seen is None and len(list(tmp_path.iterdir())) == 2


def test_a_network_may_not_be_judged_on_clips_that_it_has_seen():
    seen = Seen(prints(10, 20), prints(60))
    fresh = prints(*range(-120, -20))
    assert seen.why_not(fresh, "W") == seen.why_not(fresh | prints(10), "W") == ""  # one in a hundred may be chance
    assert "W, or one from which it began, was trained on 2 of these 2 clips" in seen.why_not(prints(10, 21), "W")
    assert "epoch by 1 of" in seen.why_not(prints(60), "W") and not seen.why_not(prints(60), "W", choosing=True)


@pytest.mark.parametrize("damage", ["gone", "changed", "other"])
def test_a_damaged_list_of_clips_is_told(tmp_path, damage):
    replace(tiny(), seen=Seen(prints(1))).save(tmp_path)
    path = tmp_path / SEEN_FILE
    path.unlink() if damage == "gone" else path.write_bytes(b"x" * 40)
    if damage == "other":
        change_config(tmp_path, seen_sha256=hashlib.sha256(b"x" * 40).hexdigest())
    with pytest.raises(UserError, match=r"seen\.safetensors .*restore"):
        Checkpoint.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.6, 0.999999, None])
def test_a_changed_byte_of_the_weights_and_a_cut_end_are_told(folder, share):
    path = folder / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    if share is None:
        del content[-100:]
    else:
        content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{WEIGHTS_FILE} .*sha256"):
        Checkpoint.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", None, WEIGHTS_FILE])
def test_a_config_that_is_none_and_a_missing_file_are_told(folder, content):
    name = WEIGHTS_FILE if content == WEIGHTS_FILE else CONFIG_FILE
    (folder / name).unlink()
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        Checkpoint.load(folder)


@pytest.mark.parametrize("key", ["model", "stream", "recipe", "estimator", "weights_sha256", "provenance", "glosses"])
def test_a_missing_key_of_the_config_is_told(folder, key):
    change_config(folder, **{key: None})
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
def test_a_save_that_fails_leaves_the_old_files_and_one_that_does_not_replaces_them(folder, monkeypatch, failing):
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
    tiny(seed=1).save(folder)
    assert torch.equal(logits(Checkpoint.load(folder)), logits(tiny(seed=1)))
    assert not torch.equal(logits(tiny(seed=1)), before)


def test_replace_file_leaves_the_old_file_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "a"
    replace_file(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"num_classes": 10**7}, "3 glosses for 10000000 classes"),
        ({"in_channels": 10**9}, "disagree about channels"),
        ({"inner_dim": 2**20, "heads": 1}, "too small for the network"),
        ({"mlp_ratio": 10**9}, "too small for the network"),
        ({"edge_features": 10**9}, "too small for the network"),
        ({"depth": 40}, "depth 40 cannot be"),
        ({"depth": 12}, "too small for the network"),
    ],
)
def test_no_room_is_made_for_a_network_that_its_files_cannot_hold(folder, sizes, sentence, monkeypatch):
    model = json.loads((folder / CONFIG_FILE).read_text())["model"]
    change_config(folder, model=model | sizes)
    monkeypatch.setattr(module, "DSTA", None)
    with pytest.raises(UserError, match=sentence):
        Checkpoint.load(folder)


# --- devices


def test_weights_of_a_network_on_another_device_are_saved_as_plain_numbers(tmp_path):
    """A safetensors file knows no device; what must not leak into it is another dtype, order or name."""
    checkpoint = tiny()
    checkpoint.model.classifier.weight.data = checkpoint.model.classifier.weight.data.t().contiguous().t()
    checkpoint.save(tmp_path)
    assert b"cuda" not in (tmp_path / WEIGHTS_FILE).read_bytes()[:20000]
    assert torch.equal(logits(Checkpoint.load(tmp_path)), logits(tiny()))


def test_load_puts_the_network_where_it_is_asked_to(folder):
    assert {p.device.type for p in Checkpoint.load(folder, "meta").model.parameters()} == {"meta"}


@pytest.mark.gpu
def test_from_the_gpu_to_the_cpu_and_back(folder, tmp_path):
    on_gpu = Checkpoint.load(folder, "cuda")
    on_gpu.save(tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS_FILE).read_bytes() == (folder / WEIGHTS_FILE).read_bytes()
    x = torch.randn(2, 5, 8, 27)
    with torch.inference_mode():
        expected = Checkpoint.load(tmp_path / "again").model(x)
        assert torch.allclose(on_gpu.model(x.cuda()).cpu(), expected, atol=1e-3)


# --- import


@pytest.fixture(scope="module")
def wlasl100():
    return {name: torch.from_numpy(np.array(value)) for name, value in random_state(100).items()}


@pytest.fixture
def upstream_file(tmp_path, wlasl100):
    path = tmp_path / "best_model.pt"
    torch.save({"weights": wlasl100, "optimizer": {}, "lr": np.float64(1e-3)}, path)
    return path


def imported(file, out, *options):
    return main(["import", str(file), "--dataset", "WLASL100", "--out", str(out), *options])


def test_import_writes_a_folder_that_answers_as_the_source(upstream_file, tmp_path, wlasl100, capsys):
    out = tmp_path / "weights" / "bone"
    assert imported(upstream_file, out, "--stream", "bone", "--bone", "direct") == 0
    assert "bone, 100 classes" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}
    made = Checkpoint.load(out)
    x = torch.linspace(-1, 1, 2 * 3 * 9 * 27).view(2, 3, 9, 27)
    with torch.inference_mode():
        assert torch.equal(made.model(x), from_upstream(wlasl100)(x))
    assert (made.stream, made.recipe, made.estimator) == ("bone", Recipe(bone="direct"), "hrnet-wholebody")
    assert all(made.glosses[entry.label] == entry.gloss for entry in official("WLASL100").values())
    assert made.glosses[0] == "book" and len(made.glosses) == 100
    assert made.provenance["imported"] == {
        "file": "best_model.pt",
        "sha256": hashlib.sha256(upstream_file.read_bytes()).hexdigest(),
        "beside": {"lr": 0.001},
    }
    assert made.provenance["datasets"] == ["WLASL100"] and made.provenance["licence"].startswith("CC BY-NC 4.0")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "python -m dsta.identify"),
        ("--stream joint --dataset WLASL300", "100 classes apart, but WLASL300 has 300"),
        ("--stream joint --dataset AUTSL", "AUTSL"),
        ("--stream joint --out file/out", "cannot be made"),
    ],
)
def test_an_import_that_cannot_be_is_told_and_leaves_nothing(
    upstream_file, tmp_path, monkeypatch, capsys, options, says
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert imported(upstream_file, "out", *options.split()) == 2
    assert says in capsys.readouterr().err and not Path("out").exists()


def test_import_does_not_overwrite_weights(upstream_file, folder, capsys):
    before = (folder / WEIGHTS_FILE).read_bytes()
    assert imported(upstream_file, folder, "--stream", "joint") == 2
    assert "already" in capsys.readouterr().err and (folder / WEIGHTS_FILE).read_bytes() == before


def test_import_keeps_nothing_when_the_written_network_answers_otherwise(upstream_file, tmp_path, monkeypatch):
    load = module._load_strictly

    def forgetful(model, path, sha256):
        load(model, path, sha256)
        model.classifier.bias.data += 1e-3

    monkeypatch.setattr(module, "_load_strictly", forgetful)
    with pytest.raises(RuntimeError, match="other logits"):
        import_upstream(upstream_file, "WLASL100", "joint", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_classes_without_a_public_list_are_numbered(tmp_path):
    torch.save({name: torch.from_numpy(np.array(value)) for name, value in random_state(500).items()}, tmp_path / "a")
    made = import_upstream(tmp_path / "a", "SLR500", "joint", tmp_path / "out")
    assert made.glosses[:2] == ("class 0", "class 1") and len(made.glosses) == 500
