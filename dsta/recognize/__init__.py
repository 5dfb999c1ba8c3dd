"""A sign in, ranked glosses out, with reasons: from a video, a `Pose` or a clip.

    from dsta.recognize import Recognizer

Names are loaded when they are first asked for, torch with the first of them: the command line begins before it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsta.recognize.recognition import FRAMES_PER_SECOND, Prediction, Recognition, SignedSpan, quality_of
    from dsta.recognize.recognizer import Recognizer
    from dsta.recognize.told import as_dict, as_table, spans_as_dict, spans_as_table

_HOMES = {
    "recognition": ("FRAMES_PER_SECOND", "Prediction", "Recognition", "SignedSpan", "quality_of"),
    "recognizer": ("Recognizer",),
    "told": ("as_dict", "as_table", "spans_as_dict", "spans_as_table"),
}

__all__ = [
    "FRAMES_PER_SECOND", "Prediction", "Recognition", "Recognizer", "SignedSpan", "as_dict", "as_table", "quality_of",
    "spans_as_dict", "spans_as_table",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"dsta.recognize.{home}"), name)
    raise AttributeError(f"module 'dsta.recognize' has no attribute {name!r}")
