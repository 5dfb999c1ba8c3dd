"""Which clips a network has seen, by their fingerprints: those it was trained on, and those that chose its epoch.

They travel in the weights folder as `seen.safetensors`, 12 bytes a clip, 20 where clips have official ids. Weights
without that file, such as upstream's, do not say what they have seen.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dsta.common import UserError
from dsta.data.overlap import LENGTH, Fingerprints

SEEN_FILE = "seen.safetensors"
MANY = 0.02
"""A network that has seen a greater share of some clips may not be judged on them; a smaller may be takes alike."""


@dataclass(frozen=True)
class Seen:
    """What a network and all from which it began have seen.

    trained: clips in training. chose: clips that chose an epoch. whole: False where one of these networks does not say.
    """

    trained: Fingerprints
    chose: Fingerprints = field(default_factory=Fingerprints.none)
    whole: bool = True

    def after(self, earlier: "Seen | None") -> "Seen":
        """What a network has seen that began from another, whose own is `earlier`; None where that does not say."""
        before = earlier or Seen(Fingerprints.none(), whole=False)
        return Seen(self.trained | before.trained, self.chose | before.chose, self.whole and before.whole)

    def why_not(self, clips: Fingerprints, who: str, choosing: bool = False) -> str:
        """Why a network may not be judged on clips, as a sentence; empty when it may.

        who: what the sentence calls it. choosing: whether it may choose its epoch by the clips, and may have before.
        """
        trained, chose = self.among(clips)
        return refusal(who, trained, np.zeros(len(clips), bool) if choosing else chose)

    def among(self, clips: Fingerprints) -> tuple[np.ndarray, np.ndarray]:
        """(N,) bool twice: which of the clips were trained on, and which chose an epoch."""
        return clips.found_in(self.trained) >= 0, clips.found_in(self.chose) >= 0

    def to_bytes(self) -> bytes:
        """As a safetensors file; equal clips are kept once, in an order that says nothing."""
        tensors = {"whole": np.array([self.whole])}
        for name, clips in (("trained", self.trained), ("chose", self.chose)):
            kept = clips | Fingerprints.none()
            tensors[name] = kept.codes
            if kept.ids.any():
                tensors[f"{name}_ids"] = kept.ids
        return save(tensors)

    @classmethod
    def read(cls, path: Path, content: bytes) -> "Seen":
        """The file's content. path: what a sentence calls it. Raises UserError when it is not such a file."""
        try:
            tensors = load(content)
            trained, chose = (_fingerprints(tensors, name) for name in ("trained", "chose"))
            return cls(trained, chose, bool(tensors["whole"].all()))
        except (SafetensorError, KeyError, ValueError) as error:
            raise UserError(f"{path} does not list the clips a network has seen ({error!r}): restore it.") from error


def refusal(who: str, trained: np.ndarray, chose: np.ndarray) -> str:
    """Why a network may not be judged on clips, of which it has seen some (N,) bool, in a sentence; empty if it may."""
    for seen, what in ((trained, "was trained on"), (chose, "has its epoch by")):
        if seen.sum() > MANY * len(seen):
            return f"{who}, or one from which it began, {what} {seen.sum()} of these {len(seen)} clips."
    return ""


def _fingerprints(tensors: dict[str, np.ndarray], name: str) -> Fingerprints:
    codes = tensors[name]
    ids = tensors.get(f"{name}_ids", np.zeros(len(codes), np.uint64))
    if codes.dtype != np.int8 or ids.dtype != np.uint64 or codes.shape != (len(ids), LENGTH):
        raise ValueError(f"{name} is not (clips, {LENGTH}) int8")
    return Fingerprints(codes, ids)
