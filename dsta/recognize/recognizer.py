"""A sign in, ranked glosses out, with reasons: from a video, a `Pose` or a clip.

python -m dsta.recognize FILE… [--weights DIR] [--top-k 5] [--json]
python -m dsta.recognize FILE --spans [--vtt FILE.vtt] [--eaf FILE.eaf]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dsta.checkpoint import DEFAULT_WEIGHTS, Ensemble
from dsta.common import UserError, exit_code, replace_file, shown
from dsta.common.device import DeviceSettings
from dsta.embedding import familiarity, joint_embedding
from dsta.keypoints import POSE_SUFFIXES, Pose
from dsta.plausible import hands_exchanged, misfit
from dsta.score import Scores, score_streams
from dsta.skeleton import CANVAS, INDEX, LEFT_HAND, RIGHT_HAND
from dsta.spans import Span, as_eaf, as_vtt, check_output, find_spans
from dsta.streams import fuse, kept_frames, resample, sample_positions, seen

if TYPE_CHECKING:
    from dsta.video import Progress

FRAMES_PER_SECOND = 10.0  # of the joints that are looked for in a video; more told no more (docs/log.md)
_FEW_FRAMES = 5  # half a second of them; no sign is told from fewer with any certainty
_FEW_A_SECOND = 5.0
_FEWEST_WITH_HAND = 2  # frames; a sign moves


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


class Recognizer:
    """An ensemble of streams, and what it makes of a video, a `Pose` or a clip."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble

    @classmethod
    def load(cls, folder: str | Path = DEFAULT_WEIGHTS, device: str = "cpu") -> Self:
        """The ensemble in `folder`, or the single stream when it holds one. Raises UserError when it cannot be used."""
        return cls(Ensemble.load(folder, device))

    @property
    def glosses(self) -> tuple[str, ...]:
        """The vocabulary, in the order of the logits."""
        return self.ensemble.glosses

    def recognize(
        self,
        source: str | Path | Pose | np.ndarray,
        progress: "Progress | None" = None,
        find: "Callable[[Path], Pose] | None" = None,
    ) -> Recognition:
        """Recognises the sign in a video or skeleton file, a Pose, or a clip (T, 27, 3) in canvas pixels.

        progress: called with a step's name and the share of it that is done. find: reads the joints of a file, in place
        of what this process would do.
        Raises UserError when the source cannot be read or shows no person or no hand.
        """
        progress = progress or (lambda step, share: None)
        started = time.perf_counter()
        pose, clip, quality = self.look_at(source, progress, find)
        found = time.perf_counter()
        progress("Running the network", 0.0)
        said = self.said(clip)
        scores = {stream: of_stream.logits for stream, of_stream in said.items()}
        fused = self._ranked(fuse(scores, self.ensemble.fusion))
        progress("Running the network", 1.0)
        quality["known_sign"] = known = self._is_known(said)
        if known is False or fused[0].score < self.ensemble.threshold:
            quality["confident"] = False
            which = f"none of the {len(self.glosses)} known"
            why = f"The best score is only {fused[0].score:.0%}: the sign may be {which}."
            quality["notes"].append(f"This is probably {which} signs." if known is False else why)
        certainty = self.ensemble.certainty if known is not False else None
        quality["certainty"] = certainty and certainty.of(fused[0].score)
        recipe = self.ensemble.first.recipe
        kept = clip[kept_frames(clip, recipe)]
        return Recognition(
            predictions=fused,
            streams={stream: self._ranked(logits) for stream, logits in scores.items()},
            quality=quality,
            timings={"joints": found - started, "network": time.perf_counter() - found},
            pose=pose,
            seen=resample(kept, sample_positions(len(kept), recipe)),
        )

    def recognize_spans(
        self,
        source: str | Path | Pose | np.ndarray,
        progress: "Progress | None" = None,
        find: "Callable[[Path], Pose] | None" = None,
    ) -> list[SignedSpan]:
        """Recognises each of several signs in a video: the joints are looked for once, the hands' motion and rest cut
        them into spans, and each span is recognised as a clip of its own.

        Arguments and errors as of `recognize`. Empty where the hands are there, and rest all the time.
        """
        progress = progress or (lambda step, share: None)
        pose, _, _ = self.look_at(source, progress, find)
        spans, said = find_spans(pose), []
        for number, span in enumerate(spans):
            progress("Running the network", number / len(spans))
            start, end = (round(seconds * pose.fps) for seconds in span)
            part = Pose(pose.keypoints[start:end], pose.fps, pose.width, pose.height, pose.estimator)
            said.append(SignedSpan(span, self.recognize(part)))
        progress("Running the network", 1.0)
        return said

    def look_at(
        self,
        source: str | Path | Pose | np.ndarray,
        progress: "Progress | None" = None,
        find: "Callable[[Path], Pose] | None" = None,
    ) -> tuple[Pose, np.ndarray, dict[str, Any]]:
        """The joints in a source, as a clip (T, 27, 3) in canvas pixels too, and its quality; as `recognize`, without
        the networks."""
        pose, clip = self._joints(source, progress or (lambda step, share: None), find)
        name = Path(source).name if isinstance(source, str | Path) else "this clip"
        fault = misfit(pose.keypoints, pose.width, pose.height)
        if fault:
            raise UserError(f"{name} {fault}")
        return pose, clip, quality_of(clip, pose.fps, name)

    def said(self, clip: np.ndarray) -> dict[str, Scores]:
        """What each stream's network says of a clip (T, 27, 3) in canvas pixels."""
        return score_streams(self.ensemble, [clip], DeviceSettings(dtype="quickest"))

    def _joints(
        self,
        source: str | Path | Pose | np.ndarray,
        progress: "Progress",
        find: "Callable[[Path], Pose] | None",
    ) -> tuple[Pose, np.ndarray]:
        if isinstance(source, np.ndarray):
            clip = np.asarray(source, np.float32)
            return Pose(clip, FRAMES_PER_SECOND, CANVAS, CANVAS, self.ensemble.estimator), clip
        if not isinstance(source, Pose):
            path = Path(source)
            if find is not None:
                source = find(path)
            elif path.suffix.lower() in POSE_SUFFIXES:
                source = Pose.load(path)
            else:
                from dsta.video import extract  # here, so that skeletons need neither LiteRT nor av

                source = extract(path, fps=FRAMES_PER_SECOND, progress=progress)
        if source.estimator != self.ensemble.estimator:
            raise UserError(
                f"The joints are from {source.estimator}, but these weights were trained on {self.ensemble.estimator}: "
                "extract them again from the video."
            )
        return source, source.clip()

    def _is_known(self, said: Mapping[str, Scores]) -> bool | None:
        """Whether a clip's sign is probably one of those known; None where the weights do not say."""
        familiar = self.ensemble.familiar
        if familiar is None:
            return None
        return bool(familiarity(joint_embedding(said, self.ensemble.fusion), familiar)[0] >= familiar.threshold)

    def _ranked(self, scores: np.ndarray) -> tuple[Prediction, ...]:
        scaled = scores[0].astype(np.float64) / self.ensemble.temperature
        probability = np.exp(scaled - scaled.max())
        probability /= probability.sum()
        order = np.argsort(-probability, kind="stable")
        return tuple(Prediction(self.glosses[i], float(probability[i])) for i in order)


def quality_of(clip: np.ndarray, fps: float, name: str) -> dict[str, Any]:
    """Shares of a clip's frames with a body and hands, and notes on what is poor.

    Raises UserError when no hand is there, or in one frame of several alone.
    """
    found = seen(clip)
    body = found[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]]].all(1)
    left, right = found[:, LEFT_HAND].any(1), found[:, RIGHT_HAND].any(1)
    hand, frames = float((left | right).mean()), len(clip)
    if (left | right).sum() < _FEWEST_WITH_HAND <= frames:
        count = f"A hand was seen in only 1 of {frames} frames of" if hand else "No hand was seen in"
        raise UserError(f"{count} {name}: film from the waist up, with both hands in the picture.")
    notes = []
    if frames < _FEW_FRAMES or fps < _FEW_A_SECOND:
        rate = f", {fps:.2g} a second" if frames > 1 else ""
        notes.append(f"There are only {frames} frames{rate}: film with 15 frames a second or more.")
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
    bar, width = shown("█", "#"), max(len(p.gloss) for p in result.predictions[:top_k])
    lines = [file]
    for rank, p in enumerate(result.predictions[:top_k], 1):
        lines.append(f"  {rank:2}  {p.gloss:<{width}}  {p.score:6.1%}  {bar * round(p.score * 30)}")
    if meant := result.quality["certainty"]:
        lines.append(f"  {meant['meaning']}")
    lines += [f"  {'not sure: ' if i == 0 else ''}{note}" for i, note in enumerate(result.quality["notes"])]
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in result.timings.items())
    lines.append(f"  {result.quality['frames']} frames, {result.quality['seconds']} s; {steps}")
    return "\n".join(lines)


def spans_as_dict(file: str, said: Sequence[SignedSpan], top_k: int) -> dict[str, Any]:
    """The object that `--spans --json` prints for a file."""
    results = [as_dict(file, each.recognition, top_k) for each in said]
    spans = [each.span._asdict() | result for each, result in zip(said, results, strict=True)]
    return {"file": file, "spans": [{key: of[key] for key in of if key != "file"} for of in spans]}


def spans_as_table(file: str, said: Sequence[SignedSpan]) -> str:
    """The lines that `--spans` prints for a file."""
    if not said:
        return f"{file}\n  no sign: the hands rest all the time"
    lines, width = [file], max(len(each.recognition.predictions[0].gloss) for each in said)
    for each in said:
        (start, end), best, quality = each.span, each.recognition.predictions[0], each.recognition.quality
        why = "" if quality["confident"] else f"  not sure: {' '.join(quality['notes'])}"
        lines.append(f"  {start:6.2f} - {end:6.2f} s  {best.gloss:<{width}}  {best.score:6.1%}{why}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 when the weights or any file could not be used."""
    parser = argparse.ArgumentParser(prog="python -m dsta.recognize", description="Recognise the sign in each file.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a video, or a skeleton (.npz, .pose)")
    parser.add_argument(
        "--weights", default=DEFAULT_WEIGHTS, metavar="DIR", help="default: the American signs that come along"
    )
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="glosses to print (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    parser.add_argument("--spans", action="store_true", help="several signs in a file: each alone, and where it is")
    parser.add_argument("--vtt", metavar="FILE.vtt", help="write the spans as subtitles (WebVTT); implies --spans")
    parser.add_argument("--eaf", metavar="FILE.eaf", help="write the spans as annotations for ELAN; implies --spans")
    args = parser.parse_args(arguments)
    if args.top_k < 1:
        parser.error("--top-k must be at least 1")
    return exit_code(lambda: _answer(args))


def _answer(args: argparse.Namespace) -> int:
    for name, ending in ((args.vtt, ".vtt"), (args.eaf, ".eaf")):
        check_output(name, ending, len(args.files))
    recognizer, code = Recognizer.load(args.weights), 0
    for file in args.files:
        try:
            if args.spans or args.vtt or args.eaf:
                _answer_spans(recognizer, file, args)
                continue
            result = recognizer.recognize(file)
        except UserError as error:
            print(error, file=sys.stderr)
            code = 2
            continue
        text = json.dumps(as_dict(file, result, args.top_k)) if args.json else as_table(file, result, args.top_k)
        print(text, flush=True)
    return code


def _answer_spans(recognizer: Recognizer, file: str, args: argparse.Namespace) -> None:
    """Prints the spans of a file, and writes them where that is asked for."""
    said = recognizer.recognize_spans(file)
    labelled = [(each.span, each.gloss) for each in said]
    if args.vtt:
        replace_file(Path(args.vtt), as_vtt(labelled).encode())
    if args.eaf:
        media = None if Path(file).suffix.lower() in POSE_SUFFIXES else file
        replace_file(Path(args.eaf), as_eaf(labelled, media, Path(args.eaf).parent).encode())
    print(json.dumps(spans_as_dict(file, said, args.top_k)) if args.json else spans_as_table(file, said), flush=True)


if __name__ == "__main__":
    sys.exit(main())
