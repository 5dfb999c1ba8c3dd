"""A sign in, ranked glosses out, with reasons: from a video, a `Pose` or a clip.

python -m dsta.recognize FILE… [--weights DIR] [--top-k 5] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsta.checkpoint import CONFIG_FILE, Checkpoint
from dsta.data import logits
from dsta.errors import UserError
from dsta.keypoints import Pose
from dsta.manifest import check_manifest, read_json
from dsta.skeleton import CANVAS, INDEX, LEFT_HAND, RIGHT_HAND
from dsta.streams import Stream, fuse, kept_frames, resample, sample_positions, seen

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "asl71"
ENSEMBLE_FILE = "ensemble.json"
FRAMES_PER_SECOND = 15.0  # of the joints that are looked for in a video; networks with longer windows may want more
POSE_SUFFIXES = (".npz", ".pose")

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Prediction:
    """A gloss and its score, the softmax of the logits after the temperature."""

    gloss: str
    score: float


@dataclass(frozen=True)
class Recognition:
    """What was recognised, and on what grounds.

    predictions: the whole vocabulary by falling score; streams: the same of each stream alone.
    quality: frames, seconds, shares of frames in which body and hands were found, `confident`, and `notes`: sentences.
    timings: seconds of each step. pose: the joints in the source. seen: (window, 27, 3) the frames that the network
    saw, canvas pixels and score.
    """

    predictions: tuple[Prediction, ...]
    streams: dict[str, tuple[Prediction, ...]]
    quality: dict[str, Any]
    timings: dict[str, float]
    pose: Pose
    seen: np.ndarray


class Recognizer:
    """An ensemble of streams with its fusion weights, temperature and threshold."""

    def __init__(
        self, checkpoints: Sequence[Checkpoint], fusion: dict[str, float], temperature: float, threshold: float
    ) -> None:
        self.checkpoints = {str(checkpoint.stream): checkpoint for checkpoint in checkpoints}
        self.fusion, self.temperature, self.threshold = fusion, temperature, threshold
        first = checkpoints[0]
        self.glosses, self.estimator = first.glosses, first.estimator
        if set(fusion) != set(self.checkpoints):
            raise UserError(f"{ENSEMBLE_FILE} names other streams than the weights that were found: restore it.")
        if any((other.glosses, other.estimator) != (self.glosses, self.estimator) for other in checkpoints[1:]):
            raise UserError("The streams' weights have different glosses or keypoints: they are not of one ensemble.")

    @classmethod
    def load(cls, folder: str | Path = WEIGHTS, device: str = "cpu") -> "Recognizer":
        """The ensemble in `folder`, or the single stream when it holds one. Raises UserError when it cannot be used.

        Streams that were trained into `folder/joint` and so on, but not yet fitted to one another, count alike.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"There is no weights folder {folder}: give one with {ENSEMBLE_FILE} or {CONFIG_FILE}.")
        check_manifest(folder)
        if (folder / CONFIG_FILE).exists():
            checkpoint = Checkpoint.load(folder, device)
            return cls([checkpoint], {str(checkpoint.stream): 1.0}, 1.0, 0.0)
        fusion, temperature, threshold = _read_ensemble(folder)
        checkpoints = [Checkpoint.load(folder / stream, device) for stream in fusion]
        return cls(checkpoints, fusion, temperature, threshold)

    def recognize(self, source: str | Path | Pose | np.ndarray, progress: Progress | None = None) -> Recognition:
        """Recognises the sign in a video or skeleton file, a Pose, or a clip (T, 27, 3) in canvas pixels.

        progress is called with a step's name and the share of it that is done.
        Raises UserError when the source cannot be read or shows no person or no hand.
        """
        progress = progress or (lambda step, share: None)
        started = time.perf_counter()
        pose, clip = self._joints(source, progress)
        found = time.perf_counter()
        name = Path(source).name if isinstance(source, str | Path) else "this clip"
        quality = _quality(clip, pose.fps, name)
        progress("Running the network", 0.0)
        scores = {
            stream: logits(checkpoint.model, [clip], stream, checkpoint.recipe, device=self._device(checkpoint))
            for stream, checkpoint in self.checkpoints.items()
        }
        fused = self._ranked(fuse(scores, self.fusion))
        progress("Running the network", 1.0)
        if fused[0].score < self.threshold:
            quality["confident"] = False
            quality["notes"].append(
                f"The best score is only {fused[0].score:.0%}: the sign may be none of the {len(self.glosses)} known."
            )
        recipe = next(iter(self.checkpoints.values())).recipe
        kept = clip[kept_frames(clip, recipe)]
        return Recognition(
            predictions=fused,
            streams={stream: self._ranked(score) for stream, score in scores.items()},
            quality=quality,
            timings={"joints": found - started, "network": time.perf_counter() - found},
            pose=pose,
            seen=resample(kept, sample_positions(len(kept), recipe)),
        )

    def _joints(self, source: str | Path | Pose | np.ndarray, progress: Progress) -> tuple[Pose, np.ndarray]:
        if isinstance(source, np.ndarray):
            clip = np.asarray(source, np.float32)
            return Pose(clip, FRAMES_PER_SECOND, CANVAS, CANVAS, self.estimator), clip
        if not isinstance(source, Pose):
            path = Path(source)
            if path.suffix.lower() in POSE_SUFFIXES:
                source = Pose.load(path)
            else:
                from dsta.pose import extract  # here, so that skeletons need neither mediapipe nor av

                source = extract(path, fps=FRAMES_PER_SECOND, progress=progress)
        if source.estimator != self.estimator:
            raise UserError(
                f"The joints are from {source.estimator}, but these weights were trained on {self.estimator}: "
                "extract them again from the video."
            )
        return source, source.clip()

    def _ranked(self, scores: np.ndarray) -> tuple[Prediction, ...]:
        scaled = scores[0].astype(np.float64) / self.temperature
        probability = np.exp(scaled - scaled.max())
        probability /= probability.sum()
        order = np.argsort(-probability, kind="stable")
        return tuple(Prediction(self.glosses[i], float(probability[i])) for i in order)

    @staticmethod
    def _device(checkpoint: Checkpoint) -> Any:
        return next(checkpoint.model.parameters()).device


def _read_ensemble(folder: Path) -> tuple[dict[str, float], float, float]:
    """Fusion weights, temperature and threshold of a weights folder."""
    if not (folder / ENSEMBLE_FILE).exists():
        trained = {str(stream): 1.0 for stream in Stream if (folder / stream / CONFIG_FILE).exists()}
        if trained:
            return trained, 1.0, 0.0
    ensemble = read_json(folder / ENSEMBLE_FILE)
    try:
        fusion = {str(Stream(stream)): float(weight) for stream, weight in ensemble["fusion"].items()}
        temperature, threshold = float(ensemble["temperature"]), float(ensemble["threshold"])
        if not (fusion and min(fusion.values()) >= 0 and sum(fusion.values()) > 0 and temperature > 0):
            raise ValueError("weights must be positive and so must the temperature")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / ENSEMBLE_FILE} is not an ensemble of dsta ({error!r}): restore it.") from error
    return fusion, temperature, threshold


def _quality(clip: np.ndarray, fps: float, name: str) -> dict[str, Any]:
    """Shares of frames with a body and hands, and notes on what is poor. Raises UserError when no hand is there."""
    found = seen(clip)
    body = found[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]]].all(1)
    left, right = found[:, LEFT_HAND].any(1), found[:, RIGHT_HAND].any(1)
    hand = float((left | right).mean())
    if hand == 0:
        raise UserError(f"No hand was seen in {name}: film from the waist up, with both hands in the picture.")
    notes = []
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


def as_dict(file: str, result: Recognition, top_k: int) -> dict[str, Any]:
    """The object that `--json` prints for a file."""

    def rows(predictions: tuple[Prediction, ...]) -> list[dict[str, Any]]:
        return [{"gloss": p.gloss, "score": round(p.score, 6)} for p in predictions[:top_k]]

    return {
        "file": file,
        "predictions": rows(result.predictions),
        "streams": {stream: rows(predictions) for stream, predictions in result.streams.items()},
        "quality": result.quality,
        "timings": {step: round(seconds, 3) for step, seconds in result.timings.items()},
    }


def as_table(file: str, result: Recognition, top_k: int) -> str:
    """The lines that the command line prints for a file."""
    width = max(len(p.gloss) for p in result.predictions[:top_k])
    lines = [file]
    for rank, p in enumerate(result.predictions[:top_k], 1):
        lines.append(f"  {rank:2}  {p.gloss:<{width}}  {p.score:6.1%}  {'█' * round(p.score * 30)}")
    lines += [f"  {'not sure: ' if i == 0 else ''}{note}" for i, note in enumerate(result.quality["notes"])]
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in result.timings.items())
    lines.append(f"  {result.quality['frames']} frames, {result.quality['seconds']} s; {steps}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 when the weights or any file could not be used."""
    parser = argparse.ArgumentParser(prog="python -m dsta.recognize", description="Recognise the sign in each file.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a video, or a skeleton (.npz, .pose)")
    parser.add_argument("--weights", default=WEIGHTS, metavar="DIR", help="default: the American signs that come along")
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="glosses to print (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    args = parser.parse_args(arguments)
    if args.top_k < 1:
        parser.error("--top-k must be at least 1")
    code = 0
    try:
        recognizer = Recognizer.load(args.weights)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for file in args.files:
        try:
            result = recognizer.recognize(file)
        except UserError as error:
            print(error, file=sys.stderr)
            code = 2
            continue
        text = json.dumps(as_dict(file, result, args.top_k)) if args.json else as_table(file, result, args.top_k)
        print(text, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
