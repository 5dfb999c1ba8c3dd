"""What a weights folder knows of its signs beside the networks: mean embeddings, by which unknown signs are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dsta.common import UserError, replace_file

FAMILIAR_FILE = "familiar.safetensors"


@dataclass(frozen=True)
class FamiliarSigns:
    """Means of joint embeddings (`dsta.embedding`), unit vectors.

    known: (M, D) of each gloss's training clips, all of them and such as are alike. gloss: (M,) the index of their
    gloss. background: (B, D) of clips of signs outside the vocabulary. weight: how much the background counts against
    the known. threshold: a familiarity below it means that the sign is probably none of those known.
    """

    known: np.ndarray
    gloss: np.ndarray
    background: np.ndarray
    weight: float
    threshold: float

    def save(self, folder: Path) -> None:
        """Writes the means, in half precision; weight and threshold are `ensemble.json`'s."""
        tensors = {"known": self.known.astype(np.float16), "background": self.background.astype(np.float16)}
        replace_file(folder / FAMILIAR_FILE, save({**tensors, "gloss": self.gloss.astype(np.int32)}))

    @classmethod
    def load(cls, folder: Path, fitted: Mapping[str, Any], glosses: int) -> Self:
        """fitted: weight and threshold. glosses: how many the vocabulary has. Raises UserError for another file."""
        path = folder / FAMILIAR_FILE
        try:
            tensors = load(path.read_bytes())
            known, background = (_unit(tensors[name]) for name in ("known", "background"))
            gloss, weight, threshold = tensors["gloss"], float(fitted["weight"]), float(fitted["threshold"])
            if known.ndim != 2 or background.ndim != 2 or known.shape[1] != background.shape[1] or not len(background):
                raise ValueError("known and background do not fit each other")
            if gloss.shape != known.shape[:1] or set(gloss.tolist()) != set(range(glosses)):
                raise ValueError(f"there is not a mean of each of the {glosses} glosses")
            if not np.isfinite([*known.ravel(), *background.ravel(), weight, threshold]).all():
                raise ValueError("a value is no number")
        except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
            raise UserError(f"{path} does not hold the means of the known signs ({error!r}): restore it.") from error
        return cls(known, gloss.astype(int), background, weight, threshold)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
