"""Weights folders: save, load, import from upstream, exchange with the Hugging Face Hub."""

from typing import TYPE_CHECKING, Any

from dsta.checkpoint.averages import AVERAGES_FILE, SignAverages
from dsta.checkpoint.certainty import Certainty
from dsta.checkpoint.ensemble import DEFAULT_WEIGHTS, ENSEMBLE_FILE, Ensemble
from dsta.checkpoint.familiar import FAMILIAR_FILE, FamiliarSigns
from dsta.checkpoint.folder import CONFIG_FILE, WEIGHTS_FILE, Checkpoint, read_seen
from dsta.checkpoint.importing import import_upstream
from dsta.checkpoint.manifest import check_manifest, write_manifest
from dsta.checkpoint.provenance import git_commit, origin, saw_folds
from dsta.checkpoint.seen import Seen
from dsta.checkpoint.upstream import from_upstream, read_upstream
from dsta.common import UserError

if TYPE_CHECKING:
    from dsta.checkpoint.hub import fetch, from_pretrained, push, push_to_hub

_OF_THE_HUB = ("fetch", "from_pretrained", "push", "push_to_hub")

__all__ = [
    "AVERAGES_FILE", "CONFIG_FILE", "DEFAULT_WEIGHTS", "ENSEMBLE_FILE", "FAMILIAR_FILE", "WEIGHTS_FILE", "Certainty",
    "Checkpoint", "Ensemble", "FamiliarSigns", "Seen", "SignAverages", "check_manifest", "fetch", "from_pretrained",
    "from_upstream", "git_commit", "import_upstream", "origin", "push", "push_to_hub", "read_seen", "read_upstream",
    "saw_folds", "write_manifest",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """The Hub's functions, when they are asked for: training and evaluation run without huggingface_hub."""
    if name not in _OF_THE_HUB:
        raise AttributeError(f"module 'dsta.checkpoint' has no attribute {name!r}")
    try:
        from dsta.checkpoint import hub
    except ModuleNotFoundError as error:
        raise UserError(f"The Hub needs {error.name}: pip install huggingface_hub.") from error
    return getattr(hub, name)
