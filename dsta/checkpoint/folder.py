"""`Checkpoint`: the network of one stream with its recipe, glosses and provenance, saved and loaded as a folder.

A weights folder of one stream holds `config.json`, `model.safetensors` and, where it is known which clips the network
has seen, `seen.safetensors`; an ensemble folder holds one such folder per stream and `ensemble.json` (see `ensemble`).
Nothing here unpickles anything.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from dsta.checkpoint.seen import SEEN_FILE, Seen
from dsta.common import UserError, read_json, replace_files
from dsta.model import DSTA, ModelConfig
from dsta.streams import Recipe, Stream

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A network of one stream with all that is needed to use it and to know where it is from.

    glosses: (K) names in the order of the logits. provenance: how it was made: data, epochs, seed, selection, licence.
    seen: the clips that it was made from; None where that is not known.
    """

    model: DSTA
    stream: Stream
    recipe: Recipe
    glosses: tuple[str, ...]
    estimator: str
    provenance: dict[str, Any]
    seen: Seen | None = None

    def save(self, folder: str | Path) -> None:
        """Writes the folder's files; a reader finds the old ones or the new ones, never halves."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        weights = save_tensors(tensors)
        files, hashes = {folder / WEIGHTS_FILE: weights}, {"weights_sha256": hashlib.sha256(weights).hexdigest()}
        if self.seen:
            files[folder / SEEN_FILE] = seen = self.seen.to_bytes()
            hashes["seen_sha256"] = hashlib.sha256(seen).hexdigest()
        config = {
            "model": self.model.config.to_dict(),
            "stream": str(self.stream),
            "recipe": self.recipe.to_dict(),
            "estimator": self.estimator,
            **hashes,
            "provenance": self.provenance,
            "glosses": list(self.glosses),
        }
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        replace_files({**files, folder / CONFIG_FILE: text.encode(errors="replace")})
        if not self.seen:
            (folder / SEEN_FILE).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> "Checkpoint":
        """The network in evaluation mode. Raises UserError when a file is missing, damaged or does not fit."""
        folder = Path(folder)
        config = read_json(folder / CONFIG_FILE)
        try:
            glosses = tuple(config["glosses"])
            sizes = ModelConfig.from_dict(config["model"])
            recipe, stream = Recipe.from_dict(config["recipe"]), Stream(config["stream"])
            estimator, provenance, sha256 = config["estimator"], config["provenance"], config["weights_sha256"]
        except UserError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            path = folder / CONFIG_FILE
            raise UserError(f"{path} is not a configuration of dsta ({error!r}): restore it.") from error
        if len(glosses) != sizes.num_classes:
            raise UserError(
                f"{folder} has {len(glosses)} glosses for {sizes.num_classes} classes: config.json is damaged."
            )
        if recipe.channels != sizes.in_channels:
            raise UserError(f"{folder}: the recipe and the model disagree about channels: config.json is damaged.")
        weights = folder / WEIGHTS_FILE
        if weights.is_file() and sizes.least_parameters > weights.stat().st_size:
            raise UserError(
                f"{weights} is damaged, or too small for the network that config.json describes: restore it."
            )
        model = DSTA(sizes)
        _load_strictly(model, weights, sha256)
        seen = read_seen(folder, config)
        return cls(model.to(device).eval(), stream, recipe, glosses, estimator, provenance, seen)


def read_seen(folder: Path, config: dict[str, Any]) -> Seen | None:
    """The clips that the network in a folder has seen; None where that is not known. config: what `config.json` holds.

    Raises UserError when the file is not the one that the configuration describes.
    """
    sha256, path = config.get("seen_sha256"), folder / SEEN_FILE
    if sha256 is None:
        return None
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing, though {CONFIG_FILE} names it: restore it.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is not the file that its {CONFIG_FILE} describes (sha256 differs): restore it.")
    return Seen.read(path, content)


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
