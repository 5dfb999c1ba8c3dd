"""From a few clips of own signs to an ensemble that recognises them: the base's networks, with other last layers.

What tells the signs apart (`dsta.embedding.taught_head`) is linear in the joint embedding, which is the streams'
embeddings, each at length 1, side by side. So it falls apart into a last layer for each stream, whose logits the
ensemble's fusion puts together again: a taught folder is a weights folder like any other.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dsta.checkpoint import ENSEMBLE_FILE, FAMILIAR_FILE, Checkpoint, Ensemble, FamiliarSigns, Seen
from dsta.common import UserError, replace_files
from dsta.data.overlap import Fingerprints
from dsta.embedding import PROBE_FROM, Head, joint_embedding, prototypes, takes_probe, taught_head
from dsta.model import DSTA
from dsta.score import score_streams
from dsta.teach.signs import SIGNS_SUFFIX, OwnSigns

SIGNS_FILE = f"taught{SIGNS_SUFFIX}"
"""In a taught folder the clips that it was taught by."""


class Fitted(NamedTuple):
    """By what the scores of taught signs become probabilities (eval/taught.py).

    temperature: of the head's scores. level: the score that counts as much as a logit of 0 of the vocabulary's. known:
    the familiarity that nine tenths of the clips of taught signs reach.
    """

    temperature: float
    level: float
    known: float


FITTED = (
    Fitted(0.066, 0.50, 0.150), Fitted(0.049, 0.59, 0.186), Fitted(0.806, 0.33, 0.189), Fitted(0.806, 0.65, 0.208),
    Fitted(0.781, 1.03, 0.214),
)  # fmt: skip
"""By one to five examples each; `PROBE_FROM` says from how many on by the linear probe."""
THRESHOLD = 0.45
"""Four fifths of the validation answers with a higher score are right, by one clip each; by more clips, more of them. A
best score below it is not sure."""


class Embedder:
    """Joint embeddings of clips by the networks of an ensemble, each clip's made once."""

    def __init__(self, base: Ensemble) -> None:
        self.base = base
        self._known: dict[bytes, np.ndarray] = {}

    def __call__(self, clips: list[np.ndarray]) -> np.ndarray:
        """(N, D) unit vectors of clips (T, 27, 3) in canvas pixels."""
        keys = [hashlib.sha256(clip.tobytes()).digest() for clip in clips]
        new = {key: clip for key, clip in zip(keys, clips, strict=True) if key not in self._known}
        if new:
            found = joint_embedding(score_streams(self.base, list(new.values())), self.base.fusion)
            self._known |= dict(zip(new, found, strict=True))
        self._known = {key: self._known[key] for key in keys}  # what was removed is forgotten
        return np.stack([self._known[key] for key in keys])


def taught_ensemble(
    base: Ensemble, signs: OwnSigns, with_vocabulary: bool = False, embed: Embedder | None = None
) -> Ensemble:
    """An ensemble that tells the signs apart, alone or together with the base's vocabulary, in which a sign of the same
    name gives way. embed: of the base, where clips were embedded before.

    Raises UserError where there are too few signs, their joints are another estimator's, or the base was taught itself.
    """
    if signs.estimator != base.estimator:
        raise UserError(
            f"These signs' joints are from {signs.estimator}, but the networks know those of {base.estimator}: teach "
            "them anew from videos, or with other --weights."
        )
    if len(signs) < (1 if with_vocabulary else 2):
        there = "is only one sign" if len(signs) else "are no signs"
        raise UserError(f"There {there} to tell apart: teach two or more, or one beside the vocabulary.")
    if any(checkpoint.model.config.taught for checkpoint in base.checkpoints.values()):
        raise UserError("These weights were taught themselves: give those that they were taught from, with --weights.")
    embeddings = (embed or Embedder(base))(signs.every_clip)
    examples = np.split(np.arange(signs.count), np.cumsum([len(own) for own in signs.clips.values()])[:-1])
    head, fitted = taught_head(embeddings, examples), fitted_for(signs)
    own = {name.casefold() for name in signs.names}
    kept = [i for i, gloss in enumerate(base.glosses) if with_vocabulary and gloss.casefold() not in own]
    temperature, threshold, scale = fitted.temperature, THRESHOLD, 1.0
    if with_vocabulary:  # the scores become logits in the vocabulary's units
        temperature, threshold, scale = base.temperature, base.threshold, base.temperature / fitted.temperature
        head = Head(scale * head.weights, scale * (head.bias - fitted.level))
    familiar = _familiar(base.familiar, kept, prototypes(embeddings, examples), fitted) if base.familiar else None
    return Ensemble(_checkpoints(base, head, kept, signs), dict(base.fusion), temperature, threshold, familiar)


def fitted_for(signs: OwnSigns) -> Fitted:
    """What fits signs of so many clips each, on average."""
    fitted = FITTED if is_probe(signs) else FITTED[: PROBE_FROM - 1]
    return fitted[min(round(signs.count / len(signs)), len(fitted)) - 1]


def is_probe(signs: OwnSigns) -> bool:
    """Whether a linear probe tells the signs apart, and not prototypes."""
    return takes_probe([len(own) for own in signs.clips.values()])


def _checkpoints(base: Ensemble, head: Head, kept: list[int], signs: OwnSigns) -> dict[str, Checkpoint]:
    """The base's networks with the head's part as their last layer, after the kept rows of their own."""
    total, start, made = sum(base.fusion.values()), 0, {}
    glosses = (*(base.glosses[i] for i in kept), *signs.names)
    taught_by = Seen(Fingerprints.of(signs.every_clip))
    for stream, weight in base.fusion.items():
        checkpoint = base.checkpoints[stream]
        width = checkpoint.model.classifier.in_features
        part = head.weights[:, start : start + width] * (np.sqrt(total / weight) if weight else 0.0)
        start += width
        model = _with_last_layer(checkpoint.model, part, head.bias, kept)
        seen = taught_by.after(checkpoint.seen)
        made[stream] = replace(checkpoint, model=model, glosses=glosses, provenance={}, seen=seen)
    return made


def _with_last_layer(model: DSTA, weights: np.ndarray, bias: np.ndarray, kept: list[int]) -> DSTA:
    """The network, whose tensors it shares, with a last layer for the kept classes and the taught ones."""
    made = DSTA(replace(model.config, num_classes=len(kept) + len(weights), taught=len(weights)))
    state = model.state_dict()
    for name, taught in (("classifier.weight", weights), ("classifier.bias", bias)):
        state[name] = torch.cat([state[name][kept], torch.from_numpy(taught).to(state[name])])
    made.load_state_dict(state, strict=True, assign=True)
    return made.to(state[name].device).eval()


def _familiar(signs: FamiliarSigns, kept: list[int], alike: np.ndarray, fitted: Fitted) -> FamiliarSigns:
    """The means of the kept signs, and the prototypes (G, D) of the taught ones."""
    of_kept = np.isin(signs.gloss, kept)
    gloss = np.concatenate([np.searchsorted(kept, signs.gloss[of_kept]), len(kept) + np.arange(len(alike))])
    known = np.concatenate([signs.known[of_kept], alike])
    threshold = min(signs.threshold, fitted.known) if kept else fitted.known
    return FamiliarSigns(known, gloss.astype(int), signs.background, signs.weight, threshold)


def save_taught(
    folder: str | Path, ensemble: Ensemble, signs: OwnSigns, about: Mapping[str, Mapping[str, Any]], base: str
) -> None:
    """Writes a weights folder that stands by itself, the signs' clips in it.

    about: stream -> provenance. base: what the card calls the weights that it was taught from.
    """
    folder = Path(folder)
    for stream, checkpoint in ensemble.checkpoints.items():
        replace(checkpoint, provenance=dict(about[stream])).save(folder / stream)
    said: dict[str, Any] = {
        "fusion": ensemble.fusion,
        "temperature": round(ensemble.temperature, 4),
        "threshold": round(ensemble.threshold, 4),
        "fitted_on": "few-shot episodes of WLASL100's validation clips, whose signs the networks never saw",
        "taught": {name: len(own) for name, own in signs.clips.items()},
    }
    files = {folder / SIGNS_FILE: signs.to_bytes(), folder / "README.md": _card(ensemble, signs, base).encode()}
    if ensemble.familiar:
        said["familiarity"] = {"weight": ensemble.familiar.weight, "threshold": round(ensemble.familiar.threshold, 4)}
        ensemble.familiar.save(folder)
    else:
        (folder / FAMILIAR_FILE).unlink(missing_ok=True)
    files[folder / ENSEMBLE_FILE] = (json.dumps(said, indent=1, ensure_ascii=False) + "\n").encode()
    replace_files(files)


def _card(ensemble: Ensemble, signs: OwnSigns, base: str) -> str:
    """The folder's card."""
    way = "a linear probe" if is_probe(signs) else "the nearest prototype"
    beside = len(ensemble.glosses) - len(signs)
    vocabulary = f", and {beside} signs of {base}" if beside else ""
    return f"""# {len(signs)} signs taught by {signs.count} clips

`python -m dsta.teach` taught these signs to the networks of {base} by {way} of the clips' embeddings{vocabulary}.
Nothing of the networks but their last layers is new: their card says what they were trained on and under which licence
they are. `{SIGNS_FILE}` holds the clips' joints and the signs' names, no video.
"""
