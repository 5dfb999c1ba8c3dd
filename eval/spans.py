"""How well hand motion cuts a video of several signs into its signs: made-up videos, joined of single clips.

    python eval/spans.py --data data/WLASL100 --split val [--weights weights/WLASL100]

Four clips of a split are joined, of one signer as long as there are any: a third of a second in which the joints go
evenly from one clip to the next lies between. `rests`: as the clips are, with the hands' rests at both ends. `close`:
cut off to where the sign is, so that signs follow closely. What is a sign's own part is told of the single clip, by
another rule than the one that is judged: from where a wrist is first half-way between its lowest and its highest place,
to where it is last. A span that was found is right when it and a sign's part overlap by half of what they cover
together; no sign is found twice. With --weights each span is recognised, as the page would.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from dsta.common import UserError, exit_code
from dsta.data.prepared import IndexRow, Prepared
from dsta.keypoints import Pose
from dsta.recognize import FRAMES_PER_SECOND, Recognizer
from dsta.skeleton import CANVAS, INDEX
from dsta.spans import Span, find_spans
from dsta.streams import shoulder_frame

STYLES = ("rests", "close")
_TOGETHER = 4  # clips of a video
_BETWEEN = 0.33  # seconds from one clip to the next
_RESTING = 1.0  # shoulder widths below the shoulders: a wrist that never gets there rests nowhere in the clip
_OVERLAP = 0.5


@dataclass(frozen=True)
class MadeVideo:
    """A video joined of single signs: their joints, parts and glosses."""

    pose: Pose
    parts: list[Span]
    glosses: list[str]


@dataclass
class Tally:
    """Counts over videos: signs there are, spans found, those right, and those right whose gloss is right too: the best
    one, or among the best five."""

    signs: int = 0
    spans: int = 0
    right: int = 0
    best: int = 0
    among_five: int = 0

    def lines(self) -> Iterator[str]:
        yield f"precision {self.right / max(self.spans, 1):.1%} of {self.spans} spans"
        yield f"recall {self.right / max(self.signs, 1):.1%} of {self.signs} signs"
        if self.among_five:
            share, five = self.best / self.right, self.among_five / self.right
            yield f"of right spans {share:.1%} have the right gloss, {five:.1%} among five"
            yield f"{self.best / self.signs:.1%} of signs found and named"


def sign_part(clip: np.ndarray) -> tuple[int, int]:
    """First frame of a single sign's own part in a clip (T, 27, 3), and the one after its last."""
    origin, width = shoulder_frame(clip)
    wrists = (clip[:, [INDEX["left_wrist"], INDEX["right_wrist"]], 1] - origin[1]) / width
    wrists[clip[:, [INDEX["left_wrist"], INDEX["right_wrist"]], 2] == 0] = np.nan
    up = np.zeros(len(clip), bool)
    for height in wrists.T:
        low, high = np.nanmax(height, initial=-np.inf), np.nanmin(height, initial=np.inf)
        if low - high > 0.3:  # the other hand may rest throughout
            up |= height < ((low + high) / 2 if low > _RESTING else low)
    frames = np.flatnonzero(up)
    return (int(frames[0]), int(frames[-1]) + 1) if len(frames) else (0, len(clip))


def made_videos(prepared: Prepared, split: str, style: str, seed: int = 0) -> Iterator[MadeVideo]:
    """Videos in which each clip of the split appears once, but for those that are left over."""
    rng = np.random.default_rng(seed)
    rows = [row for row in prepared.rows if row.split == split]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    rows.sort(key=lambda row: row.signer)  # stable: of one signer in the order drawn
    for first in range(0, len(rows) - _TOGETHER + 1, _TOGETHER):
        yield joined_clips(prepared, rows[first : first + _TOGETHER], style)


def joined_clips(prepared: Prepared, rows: Sequence[IndexRow], style: str) -> MadeVideo:
    """One video of the rows' clips, at the rate of the page."""
    pieces: list[np.ndarray] = []
    parts, at = [], 0
    for row, clip in zip(rows, prepared.clips(rows), strict=True):
        steps = np.linspace(0, row.frames - 1, max(2, round(row.frames / row.fps * FRAMES_PER_SECOND)))
        clip = _in_the_middle(clip[np.round(steps).astype(int)])
        start, end = sign_part(clip)
        if style == "close":
            clip, start, end = clip[start:end], 0, end - start
        if pieces:
            pieces.append(_between(pieces[-1][-1], clip[0]))
            at += len(pieces[-1])
        parts.append(Span((at + start) / FRAMES_PER_SECOND, (at + end) / FRAMES_PER_SECOND))
        pieces.append(clip)
        at += len(clip)
    pose = Pose(np.concatenate(pieces), FRAMES_PER_SECOND, CANVAS, CANVAS, prepared.estimator)
    return MadeVideo(pose, parts, [row.gloss for row in rows])


def _in_the_middle(clip: np.ndarray) -> np.ndarray:
    """The clip with its shoulders at one place and of one width, so that the next one may follow."""
    origin, width = shoulder_frame(clip)
    moved = clip.copy()
    moved[..., :2] = (clip[..., :2] - origin) / width * 0.25 * CANVAS + [0.5 * CANVAS, 0.4 * CANVAS]
    moved[clip[..., 2] == 0] = 0
    return moved


def _between(last: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(F, 27, 3) the way from one frame to another; a joint that was not seen in both is not."""
    share = np.linspace(0, 1, round(_BETWEEN * FRAMES_PER_SECOND) + 2)[1:-1, None, None]
    way = last + share * (first - last)
    way[:, (last[:, 2] == 0) | (first[:, 2] == 0)] = 0
    return way.astype(np.float32)


def pairs(found: Sequence[Span], parts: Sequence[Span]) -> list[tuple[int, int]]:
    """Places of spans and of the signs that they are, none of them twice."""
    shares = [(_overlap(a, b), i, j) for i, a in enumerate(found) for j, b in enumerate(parts)]
    taken: list[tuple[int, int]] = []
    for share, i, j in sorted(shares, reverse=True):
        if share >= _OVERLAP and all(i != a and j != b for a, b in taken):
            taken.append((i, j))
    return taken


def _overlap(a: Span, b: Span) -> float:
    both = max(0.0, min(a.end, b.end) - max(a.start, b.start))
    return both / (max(a.end, b.end) - min(a.start, b.start)) if both else 0.0


def tallied(videos: Iterator[MadeVideo], recognizer: Recognizer | None) -> Tally:
    """What becomes of the videos."""
    tally = Tally()
    for video in videos:
        said = [] if recognizer is None else recognizer.recognize_spans(video.pose)
        spans = find_spans(video.pose) if recognizer is None else [each.span for each in said]
        right = pairs(spans, video.parts)
        tally.signs += len(video.parts)
        tally.spans += len(spans)
        tally.right += len(right)
        for i, j in right if said else []:
            ranked = [prediction.gloss for prediction in said[i].recognition.predictions[:5]]
            tally.best += ranked[0] == video.glosses[j]
            tally.among_five += video.glosses[j] in ranked
    return tally


def several_of_single(prepared: Prepared, split: str) -> tuple[int, int]:
    """How many single clips of a split are cut into more than one span, and how many into none."""
    rows = [row for row in prepared.rows if row.split == split]
    poses = (joined_clips(prepared, [row], "rests").pose for row in rows)
    counts = [len(find_spans(pose)) for pose in poses]
    return sum(count > 1 for count in counts), sum(count == 0 for count in counts)


def measure_spans(args: argparse.Namespace) -> None:
    prepared = Prepared.read(args.data)
    clips = sum(row.split == args.split for row in prepared.rows)
    if clips < _TOGETHER:
        raise UserError(f"{args.data} has {clips} clips of the split {args.split}: name another one with --split.")
    recognizer = Recognizer.load(args.weights) if args.weights else None
    for style in STYLES:
        tally = tallied(made_videos(prepared, args.split, style), recognizer)
        print(f"{style}: {'; '.join(tally.lines())}", flush=True)
    several, none = several_of_single(prepared, args.split)
    print(f"single clips: {several} of {clips} cut into several spans, {none} without any")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python eval/spans.py", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data/WLASL100"), metavar="DIR", help="a prepared folder")
    parser.add_argument("--split", default="val", choices=("train", "val"), help="never test (default %(default)s)")
    parser.add_argument("--weights", metavar="DIR", help="recognise each span by these")
    args = parser.parse_args(arguments)
    return exit_code(lambda: measure_spans(args))


if __name__ == "__main__":
    sys.exit(main())
