"""Weights on disk: save, load, and import from upstream.

A weights folder of one stream holds `config.json` and `model.safetensors`; an ensemble folder holds one such folder per
stream and `ensemble.json`. Nothing here unpickles more than tensors.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from dsta.errors import UserError
from dsta.files import replace_file, replace_files
from dsta.model import DSTA, ModelConfig
from dsta.streams import Recipe, Stream

# Upstream's names (`model/fstgan.py`), piece by piece, and ours.
_RENAMES = [
    (r"^data_bn\.", "input_norm."),
    (r"^fc\.", "classifier."),
    (r"^layers\.", "blocks."),
    (r"\.san\.Linear_", ".spatial.project."),
    (r"\.san\.bn0\.", ".spatial.project_norm."),
    (r"\.san\.norm1\.", ".spatial.graph_norm."),
    (r"\.san\.norm2\.", ".spatial.mlp_norm."),
    (r"\.san\.in_nets\.", ".spatial.query_key."),
    (r"\.san\.alphas$", ".spatial.alpha"),
    (r"\.san\.mlp\.fc1\.", ".spatial.mlp_in."),
    (r"\.san\.mlp\.fc2\.", ".spatial.mlp_out."),
    (r"\.san\.Edge_conv\.norm1\.", ".spatial.edge.norm."),
    (r"\.san\.Edge_conv\.alphas$", ".spatial.edge.alpha"),
    (r"\.san\.Edge_conv\.edge_features$", ".spatial.edge.features"),
    (r"\.san\.Edge_conv\.transform\.", ".spatial.edge.transform."),
    (r"\.san\.attention0s$", ".spatial.mixing"),
    (r"\.san\.bn\.", ".spatial.norm."),
    (r"\.san\.", ".spatial."),
    (r"\.conv_sa\.", ".gates.joints."),
    (r"\.conv_ta\.", ".gates.frames."),
    (r"\.fc1c\.", ".gates.channels_in."),
    (r"\.fc2c\.", ".gates.channels_out."),
    (r"\.tcn\.", ".temporal.0."),
    (r"\.tcn([23])\.", lambda match: f".temporal.{int(match[1]) - 1}."),
    (r"(\.branches\.\d)\.bn\.", r"\1.norm."),
    (r"\.residual\.pool\.net\.0\.", ".residual.expand."),
    (r"\.residual\.pool\.net\.1\.", ".residual.project."),
    (r"\.residual\.bn\.", ".residual.norm."),
]


def from_upstream(state: Mapping[str, Any]) -> DSTA:
    """The network of an upstream state dict, or of its checkpoint dict {"weights": …}; tensors or numpy arrays.

    Returns a DSTA in float32 and evaluation mode; `.double()` works.
    Raises UserError that names every missing, unexpected or misshapen tensor.
    """
    if isinstance(state.get("weights"), Mapping):
        state = state["weights"]
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    odd = sorted(name for name, value in state.items() if not isinstance(value, Tensor | np.ndarray | np.generic))
    if odd:
        raise UserError(f"This is not a DSTA-SLR checkpoint: it holds entries that are no tensors, {', '.join(odd)}.")
    renamed = {_renamed(name): (name, _converted(name, value)) for name, value in state.items() if not _is_graph(name)}
    _, classifier = renamed.get("classifier.weight", ("", torch.empty(0)))
    if classifier.ndim != 2:
        raise UserError("This is not a DSTA-SLR checkpoint: it has no classifier (fc.weight).")
    model = DSTA(ModelConfig(num_classes=len(classifier)))
    expected = model.state_dict()
    common = {name: renamed[name] for name in expected if name in renamed}
    missing = sorted(set(expected) - set(common))
    unexpected = sorted(renamed[name][0] for name in set(renamed) - set(common))
    misshapen = sorted(
        f"{source} {tuple(tensor.shape)}"
        for name, (source, tensor) in common.items()
        if _squeezed(tensor) != _squeezed(expected[name])
    )
    problems = [
        f"{what} {', '.join(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if problems:
        raise UserError(f"This is not a DSTA-SLR checkpoint: {'; '.join(problems)}.")
    own = {name: tensor.reshape(expected[name].shape) for name, (_, tensor) in common.items()}
    model.load_state_dict(own, strict=True)
    return model.eval()


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _is_graph(name: str) -> bool:
    """Whether it is the adjacency, which the reference uses in DropBlock only and which is known."""
    return re.fullmatch(r"layers\.\d\.A", name) is not None


def _converted(name: str, value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    if name.endswith("Linear_weight") and tensor.ndim == 2:
        return tensor.t()
    if name.endswith("attention0s") and tensor.ndim == 5:  # (1, heads, channels of a head, 27, 27)
        return tensor.flatten(0, 2)
    return tensor


def _squeezed(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]


CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A network of one stream with all that is needed to use it and to know where it is from.

    glosses: (K) names in the order of the logits. provenance: how it was made: data, epochs, seed, selection, licence.
    """

    model: DSTA
    stream: Stream
    recipe: Recipe
    glosses: tuple[str, ...]
    estimator: str
    provenance: dict[str, Any]

    def save(self, folder: str | Path) -> None:
        """Writes `config.json` and `model.safetensors`; a reader finds the old files or the new ones, never halves."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        weights = save_tensors(tensors)
        config = {
            "model": self.model.config.to_dict(),
            "stream": str(self.stream),
            "recipe": self.recipe.to_dict(),
            "estimator": self.estimator,
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "provenance": self.provenance,
            "glosses": list(self.glosses),
        }
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        replace_files({folder / WEIGHTS_FILE: weights, folder / CONFIG_FILE: text.encode()})

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> "Checkpoint":
        """The network in evaluation mode. Raises UserError when a file is missing, damaged or does not fit."""
        folder = Path(folder)
        config = read_json(folder / CONFIG_FILE)
        try:
            glosses = tuple(config["glosses"])
            model = DSTA(ModelConfig.from_dict(config["model"]))
            recipe, stream = Recipe.from_dict(config["recipe"]), Stream(config["stream"])
            estimator, provenance, sha256 = config["estimator"], config["provenance"], config["weights_sha256"]
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{folder / CONFIG_FILE} is not a configuration of dsta ({error!r}): restore it."
            ) from error
        if len(glosses) != model.config.num_classes:
            raise UserError(
                f"{folder} has {len(glosses)} glosses for {model.config.num_classes} classes: config.json is damaged."
            )
        if recipe.channels != model.config.in_channels:
            raise UserError(f"{folder}: the recipe and the model disagree about channels: config.json is damaged.")
        _load_strictly(model, folder / WEIGHTS_FILE, sha256)
        return cls(model.to(device).eval(), stream, recipe, glosses, estimator, provenance)


def _load_strictly(model: DSTA, path: Path, sha256: str) -> None:
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(f"{path} is not the file that its config.json describes (sha256 differs): restore it.")
        tensors = load_tensors(content)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: a weights folder holds {CONFIG_FILE} and {WEIGHTS_FILE}.") from error
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): restore it.") from error
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not fit its configuration: {reason}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError when it is missing or not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: is {path.parent} a folder with weights?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}): restore it.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object: restore it.")
    return value


MANIFEST_FILE = "manifest.json"


def write_manifest(root: str | Path) -> None:
    """Writes `manifest.json` in `root` (the folder `weights`): sha256 of every file below it."""
    root = Path(root)
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix not in (".pyc", ".part"))
    files = [path for path in files if path.name != MANIFEST_FILE]
    hashes = {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    replace_file(root / MANIFEST_FILE, (json.dumps(hashes, indent=1) + "\n").encode())


def check_manifest(folder: str | Path) -> None:
    """Checks the JSON and weights files of an ensemble folder against the manifest beside it, if there is one.

    Raises UserError that names a file that is missing or was changed.
    """
    folder = Path(folder).resolve()
    manifest = folder.parent / MANIFEST_FILE
    if not manifest.exists():
        return
    for name, expected in read_json(manifest).items():
        path = folder.parent / name
        if folder not in path.parents or path.suffix not in (".json", ".safetensors"):
            continue
        if not path.exists():
            raise UserError(f"{path} is missing, though {MANIFEST_FILE} lists it: restore it.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise UserError(f"{path} was changed (its sha256 is not the one in {MANIFEST_FILE}): restore it.")
