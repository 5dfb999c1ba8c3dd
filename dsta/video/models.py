"""The pose bundle's models, each in a LiteRT interpreter of one thread, kept warm from one video to the next.

An interpreter holds the state of the picture that it looks at, so no two threads may use one at once: `lent_models`
lends a whole set of them to one video at a time, and makes another where all are lent.
"""

import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from dsta.common import UserError, file_sha256
from dsta.common.files import WEIGHTS
from dsta.video.prune import pruned
from dsta.video.quiet import native_logs

BUNDLE = WEIGHTS / "pose" / "holistic_landmarker.task"
BUNDLE_SHA256 = "fff15d0bb5c27ce3c89b7fdee41f5c5851f89fb52dc9be5c5e6307ae03a4cf7e"

_MOST_KEPT = 2  # sets of models that wait for the next video, some 100 MB each


class Model:
    """One tflite model. The values of its pictures' bytes become `low` to `high`."""

    def __init__(self, content: bytes, low: float, high: float) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        entry = self._interpreter.get_input_details()[0]
        self._entry = self._interpreter.tensor(entry["index"])
        self._exits = [self._interpreter.tensor(details["index"]) for details in self._interpreter.get_output_details()]
        self._scale, self._low = np.float32((high - low) / 255), np.float32(low)
        self.side = int(entry["shape"][1])
        self.look(np.zeros((self.side, self.side, 3), np.uint8))  # the first look takes the memory for all others

    def look(self, picture: np.ndarray) -> None:
        """Computes the outputs of a picture, (side, side, 3) uint8 RGB; other Python threads run meanwhile."""
        values = self._entry()[0]
        np.multiply(picture, self._scale, out=values)
        if self._low:
            values += self._low
        del values  # LiteRT refuses to compute while an array shows its memory
        self._interpreter.invoke()

    def output(self, number: int) -> np.ndarray:
        """An output of the last look, float32, without the batch's axis; a copy."""
        return self._exits[number]()[0].copy()


class HandModels:
    """palm: output 0, two points that say where the hand lies. hand: outputs 0 landmarks, 1 certainty."""

    def __init__(self, parts: dict[str, bytes]) -> None:
        self.palm = Model(parts["hand_roi_refinement"], 0.0, 1.0)
        self.hand = Model(parts["hand_landmarks_detector"], 0.0, 1.0)


class Models:
    """A set of models for one video at a time; each hand has its own, so that both are looked for at once.

    body: outputs 0 landmarks, 1 certainty, 2 heat maps. The mask of the person, which nobody reads and which takes 40 %
    of its time, is cut off.
    """

    def __init__(self, parts: dict[str, bytes]) -> None:
        self.person = Model(parts["pose_detector"], -1.0, 1.0)
        self.body = Model(pruned(parts["pose_landmarks_detector"], (0, 1, 3)), 0.0, 1.0)
        self.hands = {side: HandModels(parts) for side in ("left", "right")}


def _parts() -> dict[str, bytes]:
    """The bundle's files by their stems. Raises UserError where it is missing or damaged."""
    wrong = "is damaged (its sha256 differs)" if BUNDLE.is_file() else f"is missing from {BUNDLE.parent}"
    if not BUNDLE.is_file() or file_sha256(BUNDLE) != BUNDLE_SHA256:
        raise UserError(f"The pose model {BUNDLE.name} {wrong}; restore it, see its README.")
    with zipfile.ZipFile(io.BytesIO(BUNDLE.read_bytes())) as bundle:
        return {name.removesuffix(".tflite"): bundle.read(name) for name in bundle.namelist() if "face" not in name}


_kept: list[Models] = []
_lock = threading.Lock()


@contextmanager
def lent_models() -> Iterator[Models]:
    """A set of models that nobody else uses meanwhile. Raises UserError where the bundle is missing or damaged, and
    MemoryError where there is no room for it."""
    with _lock:
        models = _kept.pop() if _kept else None
    if models is None:
        models = _made()
    try:
        yield models
    finally:
        with _lock:
            if len(_kept) < _MOST_KEPT:
                _kept.append(models)


def _made() -> Models:
    parts = _parts()
    try:
        with native_logs.hidden():
            return Models(parts)
    except (RuntimeError, ValueError) as error:  # the bundle's bytes are right: what LiteRT lacks is memory
        raise MemoryError("There is not enough memory for the pose models.") from error
