"""GPUs that are lent for one call, as Hugging Face's ZeroGPU does by way of its package `spaces`.

A Space on ZeroGPU must have a function that asks for one. Elsewhere `spaces` is not installed, or changes nothing.
"""

from importlib import import_module
from importlib.util import find_spec

import numpy as np

from dsta.checkpoint import Ensemble
from dsta.common.device import chosen_device
from dsta.recognize import Recognizer
from dsta.score import Scores


class LentRecognizer(Recognizer):
    """A recogniser whose networks run on a GPU that is lent to them, where there is one."""

    def said(self, clip: np.ndarray) -> dict[str, Scores]:
        return _said(self.ensemble, clip)


def _said(ensemble: Ensemble, clip: np.ndarray) -> dict[str, Scores]:
    device = chosen_device("auto")
    for checkpoint in ensemble.checkpoints.values():
        checkpoint.model.to(device)
    return Recognizer(ensemble).said(clip)


LENT = find_spec("spaces") is not None
if LENT:  # ZeroGPU runs the function in a process of its own
    _said = import_module("spaces").GPU(duration=10)(_said)  # seconds; it takes one or two
