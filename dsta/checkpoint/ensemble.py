"""`Ensemble`: the streams of a weights folder, with their fusion weights, temperature and threshold."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from dsta.checkpoint.averages import SignAverages
from dsta.checkpoint.certainty import Certainty
from dsta.checkpoint.familiar import FAMILIAR_FILE, FamiliarSigns
from dsta.checkpoint.folder import CONFIG_FILE, Checkpoint
from dsta.checkpoint.manifest import check_manifest
from dsta.common import UserError, read_json
from dsta.common.files import WEIGHTS
from dsta.streams import Stream

DEFAULT_WEIGHTS = WEIGHTS / "asl118"
ENSEMBLE_FILE = "ensemble.json"


@dataclass(frozen=True)
class Ensemble:
    """Networks of one vocabulary, by stream.

    fusion: weight of each stream. temperature: softmax(fused / temperature) are the scores. threshold: a best score
    below it means that the answer is not sure. familiar, averages, certainty: by which a sign is told that is none of
    those known, how those known look, and how often an answer was right that was as sure, if the folder has them.
    Raises UserError for streams that do not belong together.
    """

    checkpoints: dict[str, Checkpoint]
    fusion: dict[str, float]
    temperature: float = 1.0
    threshold: float = 0.0
    familiar: FamiliarSigns | None = None
    averages: SignAverages | None = None
    certainty: Certainty | None = None

    def __post_init__(self) -> None:
        if set(self.fusion) != set(self.checkpoints):
            raise UserError(f"{ENSEMBLE_FILE} names other streams than the weights that were found: restore it.")
        if len({(checkpoint.glosses, checkpoint.estimator) for checkpoint in self.checkpoints.values()}) > 1:
            raise UserError("The streams' weights have different glosses or keypoints: they are not of one ensemble.")

    @property
    def first(self) -> Checkpoint:
        return next(iter(self.checkpoints.values()))

    @property
    def glosses(self) -> tuple[str, ...]:
        """The vocabulary, in the order of the logits."""
        return self.first.glosses

    @property
    def estimator(self) -> str:
        """What the keypoints must be from."""
        return self.first.estimator

    @classmethod
    def load(cls, folder: str | Path = DEFAULT_WEIGHTS, device: str = "cpu") -> Self:
        """The ensemble in `folder`, or the single stream when it holds one. Raises UserError when it cannot be used.

        Streams that were trained into `folder/joint` and so on, but not yet fitted to one another, count alike.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"There is no weights folder {folder}: give one with {ENSEMBLE_FILE} or {CONFIG_FILE}.")
        check_manifest(folder)
        if (folder / CONFIG_FILE).exists():
            checkpoint = Checkpoint.load(folder, device)
            return cls({str(checkpoint.stream): checkpoint}, {str(checkpoint.stream): 1.0})
        fusion, temperature, threshold, certainty = _read_fusion(folder)
        loaded = {stream: Checkpoint.load(folder / stream, device) for stream in fusion}
        ensemble = cls({str(c.stream): c for c in loaded.values()}, fusion, temperature, threshold)
        ensemble = replace(ensemble, averages=SignAverages.load(folder, ensemble.glosses), certainty=certainty)
        if not (folder / FAMILIAR_FILE).exists():
            return ensemble
        fitted = read_json(folder / ENSEMBLE_FILE).get("familiarity", {})
        return replace(ensemble, familiar=FamiliarSigns.load(folder, fitted, len(ensemble.glosses)))


def _read_fusion(folder: Path) -> tuple[dict[str, float], float, float, Certainty | None]:
    """Fusion weights, temperature, threshold and, where it was measured, certainty of a weights folder."""
    if not (folder / ENSEMBLE_FILE).exists():
        trained = {str(stream): 1.0 for stream in Stream if (folder / stream / CONFIG_FILE).exists()}
        if trained:
            return trained, 1.0, 0.0, None
    ensemble = read_json(folder / ENSEMBLE_FILE)
    try:
        fusion = {str(Stream(stream)): float(weight) for stream, weight in ensemble["fusion"].items()}
        temperature, threshold = float(ensemble["temperature"]), float(ensemble["threshold"])
        if not (fusion and min(fusion.values()) >= 0 and sum(fusion.values()) > 0 and temperature > 0):
            raise ValueError("weights must be positive and so must the temperature")
        certainty = Certainty.read(ensemble["certainty"]) if "certainty" in ensemble else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / ENSEMBLE_FILE} is not an ensemble of dsta ({error!r}): restore it.") from error
    return fusion, temperature, threshold, certainty
