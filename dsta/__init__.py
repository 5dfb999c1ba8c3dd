"""DSTA-SLR: isolated sign recognition from series of 27 skeleton joints (arXiv 2403.12519).

    from dsta import Recognizer, Pose, Recipe, Stream, DSTA

Names are loaded when they are first asked for: importing `dsta` alone loads no torch, av or OpenCV.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsta.keypoints import Pose
    from dsta.model import DSTA
    from dsta.recognize import Recognizer
    from dsta.streams import Recipe, Stream

_HOME = {"DSTA": "model", "Pose": "keypoints", "Recipe": "streams", "Recognizer": "recognize", "Stream": "streams"}

__all__ = ["DSTA", "Pose", "Recipe", "Recognizer", "Stream"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"dsta.{_HOME[name]}"), name)
    raise AttributeError(f"module 'dsta' has no attribute {name!r}")
