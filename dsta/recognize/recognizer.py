"""`Recognizer`: an ensemble's networks, and what they make of a video, a `Pose` or a clip."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dsta.checkpoint import DEFAULT_WEIGHTS, Ensemble
from dsta.common import UserError
from dsta.common.device import DeviceSettings
from dsta.embedding import familiarity, joint_embedding
from dsta.keypoints import POSE_SUFFIXES, Pose
from dsta.plausible import misfit
from dsta.recognize.recognition import FRAMES_PER_SECOND, Prediction, Recognition, SignedSpan, quality_of
from dsta.score import Scores, score_streams
from dsta.skeleton import CANVAS
from dsta.spans import find_spans
from dsta.streams import fuse, kept_frames, resample, sample_positions

if TYPE_CHECKING:
    from dsta.video import Progress


class Recognizer:
    """An ensemble of streams, and what it makes of a video, a `Pose` or a clip."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble

    @classmethod
    def load(cls, folder: str | Path = DEFAULT_WEIGHTS, device: str = "cpu") -> Self:
        """The ensemble in `folder`, or the single stream when it holds one. Raises UserError when it cannot be used."""
        try:
            return cls(Ensemble.load(folder, device))
        except OSError as error:
            why = error.strerror or error
            raise UserError(f"The weights {folder} cannot be read ({why}): give another folder.") from error

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

        Arguments and errors as of `recognize`. Empty where the hands are there, and rest all the time. A span that
        `recognize` refuses is left out; its error is raised where no other span is left.
        """
        progress = progress or (lambda step, share: None)
        pose, _, _ = self.look_at(source, progress, find)
        spans, said, refused = find_spans(pose), [], None
        for number, span in enumerate(spans):
            progress("Running the network", number / len(spans))
            start, end = (round(seconds * pose.fps) for seconds in span)
            part = Pose(pose.keypoints[start:end], pose.fps, pose.width, pose.height, pose.estimator)
            try:
                said.append(SignedSpan(span, self.recognize(part)))
            except UserError as error:
                refused = error
        if refused and not said:
            raise refused
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
            source = Pose(source, FRAMES_PER_SECOND, CANVAS, CANVAS, self.ensemble.estimator)
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
