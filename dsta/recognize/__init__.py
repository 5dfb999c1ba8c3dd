"""A sign in, ranked glosses out, with reasons: from a video, a `Pose` or a clip.

    from dsta.recognize import Recognizer

Names are loaded when they are first asked for, and torch with `Recognizer` alone: the command line begins before it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsta.recognize.recognition import FRAMES_PER_SECOND, Prediction, Recognition, SignedSpan, quality_of
    from dsta.recognize.recognizer import Recognizer
    from dsta.recognize.told import as_dict

_HOME = {
    "FRAMES_PER_SECOND": "recognition", "Prediction": "recognition", "Recognition": "recognition",
    "Recognizer": "recognizer", "SignedSpan": "recognition", "as_dict": "told", "quality_of": "recognition",
}  # fmt: skip

__all__ = ["FRAMES_PER_SECOND", "Prediction", "Recognition", "Recognizer", "SignedSpan", "as_dict", "quality_of"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"dsta.recognize.{_HOME[name]}"), name)
    raise AttributeError(f"module 'dsta.recognize' has no attribute {name!r}")
