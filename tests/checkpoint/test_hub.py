"""The Hub without a network: what is sent, what is asked for, and what is told when it fails."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import httpx
import huggingface_hub
import pytest
import torch
from helpers.benchmarks import network
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

import dsta.checkpoint
from dsta.checkpoint import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Checkpoint,
    fetch,
    from_pretrained,
    hub,
    push,
    push_to_hub,
    write_manifest,
)
from dsta.checkpoint.__main__ import main
from dsta.checkpoint.manifest import MANIFEST_FILE
from dsta.common import UserError
from dsta.recognize import Recognizer

GLOSSES = ("ja", "nein", "groß")


def logits(checkpoint):
    with torch.inference_mode():
        return checkpoint.model(torch.linspace(-1, 1, 2 * 3 * 8 * 27).view(2, 3, 8, 27))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    network(root / "bone", GLOSSES, "bone", estimator="mediapipe-holistic", datasets=["mine"])
    (root / "ensemble.json").write_text('{"fusion": {"bone": 1.0}, "temperature": 1.0, "threshold": 0.0}')
    (root / "bone" / "training.pt").write_bytes(b"a training state")
    (root / "bone" / "log.jsonl").write_text("{}")
    return root


@pytest.fixture
def ensemble(made, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(made, tmp_path / "weights" / "mine")


@pytest.fixture
def bone(ensemble):
    return Checkpoint.load(ensemble / "bone")


@pytest.fixture
def uploads(monkeypatch):
    """What would be uploaded: {repository: {file: content}}; the network is not touched."""
    sent = {}

    class Api:
        def create_repo(self, repo_id, private, exist_ok):
            sent[repo_id] = {"private": private}
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def upload_folder(self, repo_id, folder_path, **_):
            files = (path for path in Path(folder_path).rglob("*") if path.is_file())
            sent[repo_id] |= {path.relative_to(folder_path).as_posix(): path.read_bytes() for path in files}
            return f"https://huggingface.co/{repo_id}/commit/1"

    monkeypatch.setattr(hub, "HfApi", Api)
    return sent


def test_from_pretrained_on_a_local_folder(ensemble, bone):
    for loaded in (from_pretrained(ensemble / "bone"), from_pretrained(str(ensemble), subfolder="bone")):
        assert torch.equal(logits(loaded), logits(bone))


def test_push_to_hub_sends_the_two_files_and_a_card(uploads, tmp_path, bone):
    assert push_to_hub(bone, "user/signs", private=True).endswith("commit/1")
    sent = uploads["user/signs"]
    assert sent.pop("private") is True and set(sent) == {CONFIG_FILE, WEIGHTS_FILE, "README.md"}
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        (tmp_path / name).write_bytes(sent[name])
    assert torch.equal(logits(Checkpoint.load(tmp_path)), logits(bone))
    card = huggingface_hub.ModelCard(sent["README.md"].decode())
    assert card.data.license == "other" and "mediapipe-holistic" in card.text and "user/signs" in card.text


def test_push_sends_an_ensemble_without_training_states(uploads, ensemble, capsys):
    assert main(["push", str(ensemble), "user/mine"]) == 0
    assert "commit/1" in capsys.readouterr().out
    sent = uploads["user/mine"]
    assert sent.pop("private") is None
    names = {"ensemble.json", f"bone/{CONFIG_FILE}", f"bone/{WEIGHTS_FILE}"}
    assert set(sent) == names | {MANIFEST_FILE, "README.md"}
    listed = json.loads(sent[MANIFEST_FILE])
    assert listed == {name: hashlib.sha256(sent[name]).hexdigest() for name in names}


def test_push_keeps_a_card_that_is_there(uploads, ensemble):
    (ensemble / "README.md").write_text("---\nlicense: mit\n---\nmy card")
    push(ensemble, "user/mine")
    assert uploads["user/mine"]["README.md"].endswith(b"my card")


def test_push_refuses_what_does_not_load(uploads, ensemble, tmp_path, capsys):
    assert main(["push", str(tmp_path / "nothing"), "user/mine"]) == 2
    (ensemble / "bone" / WEIGHTS_FILE).write_bytes(b"damaged")
    assert main(["push", str(ensemble), "user/mine"]) == 2
    assert "no folder with weights" in (error := capsys.readouterr().err) and "is damaged" in error and not uploads


@pytest.fixture
def repository(ensemble, monkeypatch):
    """A repository as `push` makes it, in place of the Hub; what is asked for is noted."""
    asked = []
    write_manifest(ensemble)
    monkeypatch.setattr(
        hub, "snapshot_download", lambda repo, **options: asked.append((repo, options)) or str(ensemble)
    )
    return asked


def test_fetch_gives_a_folder_that_the_recognizer_loads(repository, ensemble):
    folder = fetch("user/mine", revision="v1")
    assert Recognizer.load(folder).glosses == GLOSSES
    assert repository[0][0] == "user/mine" and repository[0][1]["revision"] == "v1"
    assert set(repository[0][1]["allow_patterns"]) == {"*.json", "*.safetensors", MANIFEST_FILE}


def test_from_pretrained_fetches_one_stream_of_an_ensemble(repository, bone):
    loaded = from_pretrained("user/mine", subfolder="bone", local_files_only=True)
    assert torch.equal(logits(loaded), logits(bone))
    options = repository[0][1]
    assert options["local_files_only"]
    assert set(options["allow_patterns"]) == {"bone/*.json", "bone/*.safetensors", MANIFEST_FILE}


@pytest.mark.parametrize("name", ["ensemble.json", f"bone/{CONFIG_FILE}", f"bone/{WEIGHTS_FILE}"])
def test_what_was_changed_on_the_way_is_told(repository, ensemble, name):
    path = ensemble / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match="changed"):
        fetch("user/mine")


@pytest.mark.parametrize(
    "error",
    [
        OfflineModeIsEnabled("offline"),
        LocalEntryNotFoundError("not in the cache"),
        HFValidationError("Repo id must be in the form 'user/name'"),
        httpx.ConnectError("no network"),
    ],
)
def test_a_hub_that_cannot_be_reached_is_told(monkeypatch, capsys, error, uploads, bone):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    monkeypatch.setattr(hub.HfApi, "create_repo", fail)
    assert main(["fetch", "user/mine"]) == 2
    assert "user/mine was not fetched" in capsys.readouterr().err
    with pytest.raises(UserError, match="was not uploaded"):
        push_to_hub(bone, "user/mine")


def test_without_the_hub_library_it_is_told_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "dsta.checkpoint.hub")
    monkeypatch.delattr(dsta.checkpoint, "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install huggingface_hub"):
        dsta.checkpoint.fetch("user/mine")
