"""Clips → network input, in torch and over batches, for tracing: the one permitted twin of `dsta.streams`.

The tests hold it against `dsta.streams.prepare` and `views`. It refuses nothing: a clip that holds NaN is marked.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dsta.skeleton import BONES, CANVAS, INDEX, LEFT_HAND, MIRROR, NUM_JOINTS, PARENTS, RIGHT_HAND
from dsta.streams import Recipe, Stream

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
        sampled = {recipe: sample_frames(*batch_views(clip, recipe), recipe) for recipe in set(self.recipes.values())}
        inputs = [network_input(*sampled[recipe], stream, recipe) for stream, recipe in self.recipes.items()]
        return *inputs, torch.where(clip.isnan(), clip, 0).sum((1, 2, 3))[:, None]


def batch_views(clip: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """As `dsta.streams.views`: (views · N, T, 27, 3) clips, and (views · N, T) bool, which frames are of the view."""
    length = clip.shape[1]
    whole = torch.ones_like(clip[:, :, 0, 0], dtype=torch.bool)
    clips, masks = [clip], [whole]
    if recipe.views >= 2:
        clips.append(_mirror(clip))
        masks.append(whole)
    if recipe.views >= 4:
        frame = torch.arange(length)
        # Halves to even, as Python rounds. Not times 0.05: the exporter would write that as float32's nearest number.
        cut = torch.round(torch.full((), length, dtype=torch.float64) / 20)
        middle = whole & (frame >= cut) & (frame < length - cut)
        clips += clips
        masks += [middle, middle]
    return torch.cat(clips), torch.cat(masks)


def sample_frames(clip: Tensor, of_view: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
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
        moved = (_there(frames, stream) & _there(following, stream))[..., None]
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


def _there(frames: Tensor, stream: Stream) -> Tensor:
    """(N, T, 27) bool: the joints, or bones, of which nothing is missing."""
    found = _seen(frames)
    return found & _joints(found, PARENTS) if stream.is_bone else found


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
