"""What was recognised, and on what grounds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dsta.common import UserError
from dsta.keypoints import Pose
from dsta.plausible import hands_exchanged
from dsta.skeleton import INDEX, LEFT_HAND, RIGHT_HAND
from dsta.spans import Span
from dsta.streams import seen

FRAMES_PER_SECOND = 10.0  # of the joints that are looked for in a video; more told no more (docs/log.md)
_FEW_FRAMES = 5  # half a second of them; no sign is told from fewer with any certainty
_FEW_A_SECOND = 5.0
_FEWEST_WITH_HAND = 2  # frames; a sign moves
_STILL = 0.03  # shoulder widths: a still picture made a video moves by .022, the calmest clip of WLASL100 by .047


@dataclass(frozen=True)
class Prediction:
    """A gloss and its score, the softmax of the logits after the temperature."""

    gloss: str
    score: float


@dataclass(frozen=True)
class Recognition:
    """What was recognised, and on what grounds.

    predictions: the whole vocabulary by falling score; streams: the same of each stream alone.
    quality: frames, seconds, shares of frames in which body and hands were found, `known_sign`: whether the sign is
    probably one of those known, None where the weights do not say, `confident`, `notes`: sentences, and `certainty`:
    how often an answer as sure was right (`dsta.checkpoint.Certainty`), None where that is not known or no sign is.
    timings: seconds of each step. pose: the joints in the source. seen: (window, 27, 3) the frames that the network
    saw, canvas pixels and score.
    """

    predictions: tuple[Prediction, ...]
    streams: dict[str, tuple[Prediction, ...]]
    quality: dict[str, Any]
    timings: dict[str, float]
    pose: Pose
    seen: np.ndarray


@dataclass(frozen=True)
class SignedSpan:
    """One of several signs in a video: where it is, and what was recognised there."""

    span: Span
    recognition: Recognition

    @property
    def gloss(self) -> str:
        """The best gloss; with a question mark where that is not sure, and nothing else where none is known."""
        quality = self.recognition.quality
        best = "" if quality.get("known_sign") is False else self.recognition.predictions[0].gloss
        return best if quality["confident"] else f"{best}?"


def quality_of(clip: np.ndarray, fps: float, name: str) -> dict[str, Any]:
    """Shares of a clip's frames with a body and hands, and notes on what is poor.

    Raises UserError when no hand is there, or in one frame of several alone.
    """
    found = seen(clip)
    body = found[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]]].all(1)
    left, right = found[:, LEFT_HAND].any(1), found[:, RIGHT_HAND].any(1)
    hand, frames = float((left | right).mean()), len(clip)
    if (left | right).sum() < min(_FEWEST_WITH_HAND, frames):
        count = f"A hand was seen in only 1 of {frames} frames of" if hand else "No hand was seen in"
        raise UserError(f"{count} {name}: film from the waist up, with both hands in the picture.")
    notes = []
    if frames < _FEW_FRAMES or fps < _FEW_A_SECOND:
        rate = f", {fps:.2g} a second" if frames > 1 else ""
        count = "is only 1 frame" if frames == 1 else f"are only {frames} frames"
        notes.append(f"There {count}{rate}: film with 15 frames a second or more.")
    if _hands_are_still(clip):
        notes.append("The hands do not move: film the whole sign.")
    if hands_exchanged(clip):
        notes.append(
            "Each hand lies at the other one's wrist: left and right were exchanged where the joints were found."
        )
    if hand < 0.4:
        notes.append(f"A hand was seen in only {hand:.0%} of the frames: more light or a closer camera helps.")
    if body.mean() < 0.8:
        notes.append(f"Both shoulders were seen in only {body.mean():.0%} of the frames: step back a little.")
    if len(clip) / fps > 6:
        notes.append(f"The clip lasts {len(clip) / fps:.0f} s: cut it to one sign, which takes 1 to 4 s.")
    return {
        "frames": len(clip),
        "seconds": round(len(clip) / fps, 2),
        "body": float(body.mean()),
        "left_hand": float(left.mean()),
        "right_hand": float(right.mean()),
        "confident": not notes,
        "notes": notes,
    }


def _hands_are_still(clip: np.ndarray) -> bool:
    """Whether no joint of a hand changes its place, of those seen in several frames; False where there is none.

    Where both shoulders were never seen together, nothing tells how far is far: only a frozen hand counts then.
    """
    found, places = seen(clip), clip[..., :2].astype(np.float64)
    hands = LEFT_HAND + RIGHT_HAND
    several = [joint for joint in hands if found[:, joint].sum() > 1]
    if not several:
        return False
    moved = max(float(np.ptp(places[found[:, joint], joint], axis=0).max()) for joint in several)
    left, right = INDEX["left_shoulder"], INDEX["right_shoulder"]
    both = found[:, left] & found[:, right]
    width = float(np.median(np.hypot(*(places[both, left] - places[both, right]).T))) if both.any() else 0.0
    return moved <= _STILL * width
