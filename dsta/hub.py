"""The Hugging Face Hub: weights sent to it and fetched from it. Nothing goes over the network unless it is asked for.

huggingface_hub comes with the page; training and evaluation run without it, so `dsta.checkpoint` imports this room only
when the Hub is used.
"""

from collections.abc import Callable
from pathlib import Path

import httpx
from huggingface_hub import ModelHubMixin, snapshot_download
from huggingface_hub.errors import HFValidationError

from dsta.errors import UserError

_FAILURES = (OSError, httpx.HTTPError, HFValidationError)  # the Hub's own errors are among the first two


class _Folder(ModelHubMixin):
    """Weights on their way to the Hub: `write` puts the files into a folder, a README.md among them.

    It wraps the weights in place of being their base class, so that they can be used where huggingface_hub is not. A
    function is its only argument: of others the mixin would make a config.json, which an ensemble must not have.
    """

    def __init__(self, write: Callable[[Path], None]) -> None:
        self._write = write

    def _save_pretrained(self, save_directory: Path) -> None:
        self._write(save_directory)


def upload(write: Callable[[Path], None], card: str, repo: str, private: bool | None, message: str) -> str:
    """Sends what `write(folder)` writes to `repo`, in one commit, and makes the repository if need be.

    card: the README.md, when `write` writes none. Returns the commit's address. Raises UserError when the Hub refuses
    or cannot be reached.
    """

    def write_all(folder: Path) -> None:
        write(folder)
        if not (folder / "README.md").exists():
            (folder / "README.md").write_text(card, encoding="utf-8")

    try:
        return str(_Folder(write_all).push_to_hub(repo, private=private, commit_message=message))
    except _FAILURES as error:
        raise UserError(f"{repo} was not uploaded ({_first_line(error)}): {_ADVICE}") from error


def download(repo: str, subfolder: str, revision: str | None, local_files_only: bool) -> Path:
    """The folder in the local cache with the JSON and weights files of `repo`, or of one subfolder of it.

    This is not the mixin's `from_pretrained`, which wants a config.json at the repository's root: an ensemble has none.
    Raises UserError when it is not there or cannot be reached.
    """
    patterns = [f"{subfolder}/{kind}" if subfolder else kind for kind in ("*.json", "*.safetensors")]
    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=[*patterns, "manifest.json"], local_files_only=local_files_only
        )
    except _FAILURES as error:
        raise UserError(f"{repo} was not fetched ({_first_line(error)}): {_ADVICE}") from error
    return Path(folder)


_ADVICE = "is the name user/repository right, is there a network, and does `hf auth whoami` know you?"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
