"""A weights folder as one ONNX file: clips in, fused logits out, preprocessing and test-time views included.

    python -m dsta.export NAME --onnx FILE.onnx

The file takes `clip` (N, T, 27, 3) float32 – x, y in pixels of the canvas, score; any N and any T ≥ 1, the same for all
clips of a call – and gives `logits` (N, K) float32, the weighted mean of the streams' raw logits. Its metadata holds
what else is needed: glosses, temperature, threshold, recipes, hashes, licence. All its operators are ONNX's own.

Here is the one permitted second form of `dsta.streams.prepare` and `views`, in torch and over batches, for tracing; the
tests hold it against the first. It refuses nothing: a clip that holds NaN gets NaN for logits.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dsta.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from dsta.data import file_sha256, logits
from dsta.errors import UserError, exit_code
from dsta.files import replace_file
from dsta.onnxgraph import OPSET, Part, assemble
from dsta.recognize import WEIGHTS, Recognizer
from dsta.skeleton import BONES, CANVAS, INDEX, JOINTS, LEFT_HAND, MIRROR, NUM_JOINTS, PARENTS, RIGHT_HAND
from dsta.streams import Recipe, Stream, fuse

TOLERANCE = 1e-3
_HANDS = LEFT_HAND + RIGHT_HAND
_HAND_ROOTS = (LEFT_HAND[0], RIGHT_HAND[0])
_SHOULDERS = [INDEX["left_shoulder"], INDEX["right_shoulder"]]
_LIMB_ROOT = [_HAND_ROOTS[joint in RIGHT_HAND] if joint in _HANDS else int(PARENTS[joint]) for joint in INDEX.values()]
for _root in _HAND_ROOTS:
    _LIMB_ROOT[_root] = int(PARENTS[_root])


class Preparation(nn.Module):
    """Clips (N, T, 27, 3) -> the input of each stream (views · N, C, window, 27), and zeros (N, 1).

    The zeros are NaN where the clip holds one: not every joint of every frame reaches the networks.
    """

    def __init__(self, recipes: Mapping[str, Recipe]) -> None:
        super().__init__()
        self.recipes = dict(recipes)

    def forward(self, clip: Tensor) -> tuple[Tensor, ...]:
        sampled = {recipe: sample(*views(clip, recipe), recipe) for recipe in set(self.recipes.values())}
        inputs = [network_input(*sampled[recipe], stream, recipe) for stream, recipe in self.recipes.items()]
        return *inputs, torch.where(clip.isnan(), clip, 0).sum((1, 2, 3))[:, None]


# ---- the torch form of dsta.streams, over a batch --------------------------------------------------------------------


def views(clip: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """As `dsta.streams.views`: (views · N, T, 27, 3) clips, and (views · N, T) bool, which frames are of the view."""
    length = clip.shape[1]
    whole = torch.ones_like(clip[:, :, 0, 0], dtype=torch.bool)
    clips, masks = [clip], [whole]
    if recipe.views >= 2:
        clips.append(_mirror(clip))
        masks.append(whole)
    if recipe.views >= 4:
        frame = torch.arange(length)
        cut = torch.round(torch.full((), length, dtype=torch.float64) * 0.05)  # halves to even, as Python rounds
        middle = whole & (frame >= cut) & (frame < length - cut)
        clips += clips
        masks += [middle, middle]
    return torch.cat(clips), torch.cat(masks)


def sample(clip: Tensor, of_view: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """The frames that the network looks at, and to each the one that follows, of which motion is made.

    clip: (N, T, 27, 3); of_view: (N, T) bool, not all False. Returns two of (N, window, 27, 3), the last frame followed
    by itself: pixels and following frames of the clip (`nose`), or shoulder widths and following looks (`shoulders`).
    """
    clip = torch.where(clip.isinf(), 0, clip)
    kept = _with_hands(clip, of_view) if recipe.handless == "drop" else of_view
    count = kept.sum(1, keepdim=True)
    order = torch.where(kept, torch.arange(clip.shape[1]), clip.shape[1]).sort(1).values  # kept ones, then the length
    i = torch.arange(recipe.window)
    if recipe.normalise == "nose":
        now = (i * (count.double() / recipe.window)).long()
        return _take(clip, order, now), _take(clip, order, torch.minimum(now + 1, count - 1))
    last = (count - 1).double()
    step = last / max(recipe.window - 1, 1)
    position = torch.where(i < max(recipe.window - 1, 1), i * step, last)  # numpy's linspace: the last one is exact
    before = position.floor().long()
    after = torch.minimum(before + 1, count - 1)
    share = (position - before).to(clip.dtype)[..., None, None]
    origin, width = _shoulder_frame(clip, kept)
    a = _shoulder_units(_take(clip, order, before), origin, width)
    b = _shoulder_units(_take(clip, order, after), origin, width)
    both = (_seen(a) & _seen(b))[..., None]
    looks = torch.where(both, a + share * (b - a), torch.where(share < 0.5, a, b))
    return looks, looks.index_select(1, (i + 1).clamp(max=recipe.window - 1))


def network_input(frames: Tensor, following: Tensor, stream: Stream | str, recipe: Recipe) -> Tensor:
    """What `sample` returned, as `dsta.streams.prepare` gives it: (N, recipe.channels, window, 27)."""
    stream = Stream(stream)
    if recipe.normalise == "nose":
        x = _bones(frames, recipe.bone) if stream.is_bone else frames
        if stream.is_motion:
            x = (_bones(following, recipe.bone) if stream.is_bone else following) - x
        nose = x[:, :, INDEX["nose"], :2].mean(1)
        return (x - torch.cat([nose, torch.zeros_like(nose[:, :1])], 1)[:, None, None]).permute(0, 3, 1, 2)
    points = _relative(frames, PARENTS) if stream.is_bone else frames[..., :2]
    if stream.is_motion:
        moved = (_seen(frames) & _seen(following))[..., None]
        after = _relative(following, PARENTS) if stream.is_bone else following[..., :2]
        points = torch.where(moved, after - points, 0)
    channels = [points, frames[..., 2:]]
    if recipe.hand_local:
        channels.append(_relative(frames, _LIMB_ROOT))
    return torch.cat(channels, -1).permute(0, 3, 1, 2)


def _joints(frames: Tensor, which: Sequence[int] | np.ndarray) -> Tensor:
    return frames.index_select(2, torch.as_tensor(np.asarray(which)))


def _seen(clip: Tensor) -> Tensor:
    return clip[..., 2] > 0


def _mirror(clip: Tensor) -> Tensor:
    mirrored = _joints(clip, MIRROR)
    x = torch.where(_seen(mirrored), CANVAS - mirrored[..., 0], 0)
    return torch.cat([x[..., None], mirrored[..., 1:]], -1)


def _with_hands(clip: Tensor, of_view: Tensor) -> Tensor:
    """(N, T) bool: the view's frames in which a hand was seen; all of the view where none shows a hand."""
    shown = of_view & _joints(_seen(clip), _HANDS).any(2)
    return shown | (of_view & ~shown.any(1, keepdim=True))


def _take(clip: Tensor, order: Tensor, which: Tensor) -> Tensor:
    """The which-th (N, W) of each clip's frames as `order` (N, T) lists them: (N, W, 27, 3)."""
    index = order.gather(1, which)[..., None, None]
    return clip.gather(1, index.expand(-1, -1, NUM_JOINTS, 3))


def _shoulder_frame(clip: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """As `dsta.streams.shoulder_frame`, of the kept frames: origin (N, 1, 1, 2) and width (N, 1, 1, 1)."""
    found = _seen(clip) & kept[..., None]
    both = _joints(found, _SHOULDERS).all(2)
    count = both.sum(1, keepdim=True)
    pair = _joints(clip[..., :2], _SHOULDERS)
    apart = pair[:, :, 0] - pair[:, :, 1]
    widths = torch.where(both, apart.square().sum(-1).sqrt(), torch.inf).sort(1).values
    middle = torch.cat([(count - 1).clamp(min=0) // 2, count // 2], 1)
    width = widths.gather(1, torch.minimum(middle, count.clamp(min=1) - 1)).mean(1, keepdim=True)
    width = torch.where(count > 0, width.clamp(min=0.04 * CANVAS), 0.25 * CANVAS)
    of_shoulders = torch.where(both[..., None, None], pair, 0).sum((1, 2)) / (2 * count.clamp(min=1))
    of_all = torch.where(found[..., None], clip[..., :2], 0).sum((1, 2)) / found.sum((1, 2)).clamp(min=1)[:, None]
    return torch.where(count > 0, of_shoulders, of_all)[:, None, None], width[:, None, None]


def _shoulder_units(clip: Tensor, origin: Tensor, width: Tensor) -> Tensor:
    units = torch.cat([(clip[..., :2] - origin) / width, clip[..., 2:]], -1)
    return torch.where(_seen(clip)[..., None], units, 0)


def _relative(frames: Tensor, origin: Sequence[int] | np.ndarray) -> Tensor:
    """x and y of each joint less its origin's, zero where either was not seen; the nose stays."""
    found, points = _seen(frames), frames[..., :2]
    both = (found & _joints(found, origin))[..., None]
    relative = torch.where(both, points - _joints(points, origin), 0)
    is_nose = (torch.arange(NUM_JOINTS) == INDEX["nose"])[:, None]
    return torch.where(is_nose, points, relative)


def _bones(frames: Tensor, rule: str) -> Tensor:
    """Bones by one matrix over joints. Chained: rows that were already differenced are subtracted (see `streams`)."""
    points = np.eye(NUM_JOINTS, dtype=np.float32)
    bones = points.copy()
    for parent, child in sorted(BONES, key=lambda bone: bone[0] not in _HAND_ROOTS):
        bones[child] -= bones[parent] if rule == "chained" else points[parent]
    return torch.from_numpy(bones) @ frames


# ---- the file --------------------------------------------------------------------------------------------------------


def export(folder: str | Path, path: str | Path) -> dict[str, Any]:
    """Writes the weights folder of an ensemble, or of one stream, as an ONNX file.

    The file is compared with `dsta.data.logits` and `fuse` before it takes its place. Returns `difference` (the largest
    of the fused logits), `bytes`, `opset`, `streams` and `classes`.
    Raises UserError when the weights cannot be used, onnx is not installed, the file cannot be written or differs.
    """
    folder, path = Path(folder), Path(path)
    _need("onnx", "onnxscript", "onnxruntime")
    recognizer = Recognizer.load(folder)
    if not path.parent.is_dir() or path.is_dir():
        raise UserError(f"{path} cannot be written: give a file in a folder that exists with --onnx.")
    content = to_onnx(recognizer, metadata(recognizer, folder))
    difference = largest_difference(content, recognizer)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path} was not written: through onnxruntime its logits differ from these weights' by {difference:.2g}, "
            f"more than {TOLERANCE:g}; try the versions of torch, onnx and onnxruntime in tests/requirements.txt."
        )
    try:
        replace_file(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another place with --onnx.") from error
    streams = list(recognizer.checkpoints)
    classes = len(recognizer.glosses)
    return {
        "difference": difference, "bytes": len(content), "opset": OPSET, "streams": streams, "classes": classes,
    }  # fmt: skip


def metadata(recognizer: Recognizer, folder: Path) -> dict[str, str]:
    """What travels in the file as `metadata_props`: plain text, or JSON where the name says what is in it."""
    checkpoints = recognizer.checkpoints
    single = (folder / CONFIG_FILE).exists()
    files = {stream: folder / ("" if single else stream) / WEIGHTS_FILE for stream in checkpoints}
    made = next(iter(checkpoints.values())).provenance
    values = {
        "name": folder.resolve().name,
        "input": "clip: (clips, frames, 27 joints, 3) float32; x and y in pixels of a canvas whose longest side is "
        f"{CANVAS}, y down, and score; a joint that was not found is 0, 0, 0",
        "output": "logits: (clips, glosses) float32; softmax(logits / temperature) are the scores",
        "joints": list(JOINTS),
        "glosses": list(recognizer.glosses),
        "temperature": recognizer.temperature,
        "threshold": recognizer.threshold,
        "fusion": recognizer.fusion,
        "recipe": {stream: checkpoint.recipe.to_dict() for stream, checkpoint in checkpoints.items()},
        "estimator": recognizer.estimator,
        "dataset": made.get("datasets", []),
        "licence": made.get("licence", ""),
        "commit": made.get("commit", ""),
        "weights_sha256": {stream: file_sha256(file) for stream, file in files.items()},
    }
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
    }


def to_onnx(recognizer: Recognizer, properties: Mapping[str, str] | None = None) -> bytes:
    """The ONNX model of an ensemble on the CPU, checked, as the bytes of its file."""
    checkpoints = recognizer.checkpoints
    total = sum(recognizer.fusion.values())
    parts = {
        stream: Part(
            checkpoint.model,
            (checkpoint.model.config, checkpoint.recipe.window),
            checkpoint.recipe.views,
            recognizer.fusion[stream] / total,
        )
        for stream, checkpoint in checkpoints.items()
    }
    preparation = Preparation({stream: checkpoint.recipe for stream, checkpoint in checkpoints.items()})
    example = torch.from_numpy(made_up_clips(2, 37))
    return assemble(preparation, example, parts, len(recognizer.glosses), properties or {})


def largest_difference(content: bytes, recognizer: Recognizer) -> float:
    """Between the file's fused logits through onnxruntime and our own, over made-up clips with holes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    largest = 0.0
    for n, length in ((1, 1), (3, 40), (2, 150), (1, 97)):
        clips = made_up_clips(n, length, seed=length)
        (found,) = session.run(None, {"clip": clips})
        scores = {
            stream: logits(checkpoint.model, clips, stream, checkpoint.recipe)
            for stream, checkpoint in recognizer.checkpoints.items()
        }
        largest = max(largest, float(np.abs(found - fuse(scores, recognizer.fusion)).max()))
    return largest


def made_up_clips(n: int, length: int, seed: int = 0) -> np.ndarray:
    """(n, length, 27, 3) float32 of wandering joints, of which a fifth are unseen, hands for frames on end."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(100, 400, (n, 1, NUM_JOINTS, 2)) + rng.normal(0, 5, (n, length, NUM_JOINTS, 2)).cumsum(1)
    clips = np.concatenate([points, rng.uniform(0.3, 1, (n, length, NUM_JOINTS, 1))], -1).astype(np.float32)
    clips[rng.random((n, length, NUM_JOINTS)) < 0.2] = 0
    for hand in (LEFT_HAND, RIGHT_HAND):
        for clip, start in zip(clips, rng.integers(0, length, n), strict=True):
            clip[start : start + length // 3, hand] = 0
    return clips


def _need(*libraries: str) -> None:
    for library in libraries:
        try:
            __import__(library)
        except ImportError as error:
            raise UserError(
                f"Export needs {library}, which is not installed: pip install onnx onnxscript onnxruntime."
            ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dsta.export", description="Write weights as one ONNX file.")
    parser.add_argument("weights", metavar="NAME", help="a weights folder, or the name of one in weights/")
    parser.add_argument("--onnx", required=True, type=Path, metavar="FILE", help="where the file goes")
    args = parser.parse_args(arguments)

    def work() -> None:
        folder = Path(args.weights) if Path(args.weights).is_dir() else WEIGHTS.parent / args.weights
        made = export(folder, args.onnx)
        print(
            f"{args.onnx}: {' + '.join(made['streams'])}, {made['classes']} glosses, {made['bytes'] / 1e6:.1f} MB, "
            f"opset {made['opset']}; largest difference from these weights {made['difference']:.1e}"
        )

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
