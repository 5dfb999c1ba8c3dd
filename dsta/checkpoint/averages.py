"""What a weights folder shows of its signs: of each an average skeleton over several signers (`dsta.reference`)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dsta.common import UserError, replace_file
from dsta.skeleton import NUM_JOINTS

AVERAGES_FILE = "averages.safetensors"
_LARGEST = 2**24  # bytes of a file; that of 118 signs has half a million


@dataclass(frozen=True, eq=False)
class SignAverages:
    """joints: (G, T, 27, 3) float32, x and y on the canvas and as score the share of the signers who show a joint, one
    for each gloss. signers: (G,) of how many people an average is; 0 where there is none."""

    joints: np.ndarray
    signers: np.ndarray

    def save(self, folder: Path, glosses: tuple[str, ...]) -> None:
        """Writes the averages of these glosses, places in half precision."""
        tensors: dict[str, np.ndarray] = {
            "places": self.joints[..., :2].astype(np.float16),
            "scores": np.round(self.joints[..., 2] * 255).astype(np.uint8),
            "signers": self.signers.astype(np.int32),
        }
        replace_file(folder / AVERAGES_FILE, save(tensors, metadata={"glosses": json.dumps(glosses)}))

    @classmethod
    def load(cls, folder: Path, glosses: tuple[str, ...]) -> Self | None:
        """Those of the folder's glosses, None where it has none. Raises UserError for another file."""
        path = folder / AVERAGES_FILE
        if not path.exists():
            return None
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError("it is too large")
            with safe_open(path, "np") as file:
                if json.loads((file.metadata() or {}).get("glosses", "null")) != list(glosses):
                    raise ValueError("it is of other glosses")
                places, scores, signers = (file.get_tensor(name) for name in ("places", "scores", "signers"))
            if scores.shape != (len(glosses), scores.shape[1], NUM_JOINTS) or places.shape != (*scores.shape, 2):
                raise ValueError(f"places {places.shape} and scores {scores.shape} do not fit {len(glosses)} glosses")
            if signers.shape != (len(glosses),) or not np.isfinite(places).all():
                raise ValueError("a value is no number, or lacks")
        except (SafetensorError, ValueError, LookupError, OSError) as error:
            raise UserError(f"{path} does not hold the averages of the signs ({error}): restore it.") from error
        joints = np.concatenate([places.astype(np.float32), scores[..., None] / np.float32(255)], -1)
        return cls(joints, signers.astype(int))
