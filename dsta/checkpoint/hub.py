"""The Hugging Face Hub: weights sent to it and fetched from it. Nothing goes over the network unless it is asked for.

huggingface_hub comes with the page; training and evaluation run without it, so this file is imported only when the Hub
is used.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError

from dsta.checkpoint.folder import CONFIG_FILE, Checkpoint
from dsta.checkpoint.manifest import MANIFEST_FILE, check_manifest, write_manifest
from dsta.common import UserError

_PUBLISHED = (".json", ".safetensors", ".md", ".yml", ".yaml")
_ADVICE = "is the name user/repository right, is there a network, and does `hf auth whoami` know you?"
_FAILURES = (OSError, httpx.HTTPError, HFValidationError)  # the Hub's own errors are among the first two


def fetch(repo: str, subfolder: str = "", revision: str | None = None, local_files_only: bool = False) -> Path:
    """Downloads `user/name` from the Hub, one stream or an ensemble: `Recognizer.load(fetch("user/asl118"))`.

    Returns the folder in the Hub's cache; its files are those that its manifest lists. Raises UserError.
    """
    patterns = [f"{subfolder}/{kind}" if subfolder else kind for kind in ("*.json", "*.safetensors")]
    how: dict[str, Any] = {"revision": revision, "local_files_only": local_files_only}
    try:
        folder = Path(snapshot_download(repo, allow_patterns=[*patterns, MANIFEST_FILE], **how))
    except _FAILURES as error:
        raise UserError(f"{repo} was not fetched ({_first_line(error)}): {_ADVICE}") from error
    check_manifest(folder / subfolder, folder)
    return folder


def push(folder: str | Path, repo: str, private: bool | None = None) -> str:
    """Sends a weights folder, of one stream or an ensemble, with its card and a manifest to `user/name` on the Hub.

    What does not load is refused; logs and training states stay here. Returns the commit's address. Raises UserError.
    """
    folder = Path(folder)
    check_manifest(folder)
    configs = sorted(folder.glob(f"**/{CONFIG_FILE}"))
    if not configs:
        raise UserError(f"{folder} is no folder with weights: give one with {CONFIG_FILE}, or with a folder a stream.")
    checkpoints = [Checkpoint.load(config.parent) for config in configs]

    def write(target: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (path.suffix in _PUBLISHED or path.name == "LICENSE"):
                place = target / path.relative_to(folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
        write_manifest(target)

    return _upload(write, _card(repo, checkpoints), repo, private, f"Weights: {folder.name}")


def from_pretrained(
    name: str | Path,
    subfolder: str = "",
    revision: str | None = None,
    local_files_only: bool = False,
    device: str | torch.device = "cpu",
) -> Checkpoint:
    """The network in a local folder, or else in the Hub's repository `user/name`; `subfolder` is a stream of an
    ensemble. Downloaded files are kept in the Hub's cache. Raises UserError."""
    folder = Path(name) if Path(name).is_dir() else fetch(str(name), subfolder, revision, local_files_only)
    return Checkpoint.load(folder / subfolder, device)


def push_to_hub(checkpoint: Checkpoint, repo: str, private: bool | None = None) -> str:
    """Sends one network with a short card to `user/name` on the Hub, as the user that is logged in there.

    private: of a repository that is made anew. Returns the commit's address. Raises UserError.
    """
    return _upload(checkpoint.save, _card(repo, [checkpoint]), repo, private, "Weights of one stream")


def _upload(write: Callable[[Path], None], card: str, repo: str, private: bool | None, message: str) -> str:
    """Sends what `write(folder)` writes to `repo`, in one commit, and makes the repository if need be.

    card: the README.md, when `write` writes none. Returns the commit's address. Raises UserError when the Hub refuses
    or cannot be reached.
    """
    api = HfApi()
    try:
        with TemporaryDirectory() as folder:
            write(Path(folder))
            if not (readme := Path(folder, "README.md")).exists():
                readme.write_text(card, encoding="utf-8")
            name = api.create_repo(repo, private=private, exist_ok=True).repo_id
            return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message=message))
    except _FAILURES as error:
        raise UserError(f"{repo} was not uploaded ({_first_line(error)}): {_ADVICE}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _card(repo: str, checkpoints: Sequence[Checkpoint]) -> str:
    """The README.md of weights that have none."""
    first = checkpoints[0]
    licence = str(first.provenance.get("licence") or "unknown")
    streams = ", ".join(checkpoint.stream for checkpoint in checkpoints)
    data = ", ".join(map(str, first.provenance.get("datasets", ()))) or "data that its configuration does not name"
    return f"""---
license: {"cc-by-nc-4.0" if licence.startswith("CC BY-NC 4.0") else "other"}
library_name: dsta
pipeline_tag: video-classification
tags: [sign-language-recognition, skeleton, dsta-slr]
---
# {repo.rpartition("/")[2]}: {len(first.glosses)} signs from 27 joints

DSTA networks (arXiv 2403.12519) of the stream(s) {streams}, for keypoints of {first.estimator}, trained on {data}.
Licence: {licence}. Each `config.json` holds the recipe, the glosses and where the weights are from.

```python
from dsta.checkpoint import fetch
from dsta.recognize import Recognizer

recognizer = Recognizer.load(fetch("{repo}"))
```
"""
