"""The temporal chain of a block, three convolutions without anything between them, as one.

Beyond the ends, the stages between see zeros, which the one convolution does not: it goes on with what the outermost
frames make there. That much is taken away again (`_beyond`), and the result is exact for every number of frames.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsta.folded.maps import Numbers, exact, scale_and_shift
from dsta.model import TemporalBranch, TemporalConv
from dsta.skeleton import NUM_JOINTS

_STAGE = 7  # frames that a stage sees; its shorter kernel is padded
_TAPS = 3 * (_STAGE - 1) + 1  # frames that the chain sees
_REACH = 2 * (_STAGE // 2)  # frames at each end that make, or are made of, what lies beyond it
_DENSE = 2**18  # numbers of a chain's whole matrix up to which it is used
_COLUMNS = 2 * NUM_JOINTS  # of a usual product
_FETCHING = 25  # multiply-adds that take as long as to fetch a weight


class Chain:
    """Chains side by side, (S, C, N, V, T) -> (S, C_out, N, V, T'), without their `biases` (C_out, T') each.

    Of few frames and channels it is one matrix. Else it goes tile by tile through the frequency domain (overlap-save,
    three real products for a complex one), which takes about a third of the multiplications.
    """

    def __init__(self, chains: Sequence[Sequence[TemporalConv]], frames: int, as_: Numbers) -> None:
        last = chains[0][-1].branches[0].conv
        assert isinstance(last, nn.Conv2d)
        self.stride, self.product = last.stride[0], as_.product
        self.frames, self.frames_out = frames, -(-frames // self.stride)
        accuracy = torch.promote_types(as_.kept, torch.float32)
        folded = [_FoldedChain.of(chain, frames, self.stride, accuracy) for chain in chains]
        self.biases = [chain.bias for chain in folded]
        _, self.channels, channels_in = folded[0].taps.shape
        self.matrix: Tensor | None = None
        if frames * self.frames_out * channels_in * self.channels <= _DENSE:
            self.matrix = as_.maps(chain.matrix(frames, self.stride) for chain in folded)
            return
        self.tiling = Tiling.best(self.frames_out, self.stride, channels_in, self.channels)
        spectra = [self.tiling.spectrum(chain.taps) for chain in folded]
        self.spectra = as_.maps(spectrum for each in spectra for spectrum in each)
        there, back = (x.to(spectra[0].device, as_.kept) for x in self.tiling.transforms())
        self.there, self.back = (x.expand(len(chains), -1, -1) for x in (there, back))
        self.ends = as_.maps(end.permute(2, 0, 3, 1).flatten(2).flatten(0, 1) for f in folded for end in f.ends)

    def __call__(self, y: Tensor, factors: Tensor) -> Tensor:
        """Of y times factors (S, C, N, T), the same for all joints."""
        s, c, n, v, t = y.shape
        factors = factors[:, :, :, None]
        if self.matrix is not None:
            flat = (y * factors).permute(0, 1, 4, 2, 3).reshape(s, c * t, n * v)
            out = torch.bmm(self.matrix, flat.to(self.product))
            return out.view(s, self.channels, self.frames_out, n, v).permute(0, 1, 3, 4, 2)
        before = _TAPS // 2
        padded = y.new_empty(s, c, n, v, self.tiling.padded)
        padded[..., :before] = padded[..., before + t :] = 0
        given = torch.mul(y, factors, out=padded[..., before : before + t])
        out = self._by_tiles(padded)
        first, last = self._ends(given)
        out[..., : first.shape[-1]] -= first
        out[..., -last.shape[-1] :] -= last
        return out

    def _by_tiles(self, padded: Tensor) -> Tensor:
        """The convolution of padded frames: there, a product at each point, and back."""
        (s, c, n, v, _), tiling = padded.shape, self.tiling
        tiles = padded.view(s, c, n * v, -1, self.stride).unfold(3, tiling.length, tiling.out)
        tiles = tiles.permute(0, 4, 1, 2, 3, 5).reshape(s, -1, tiling.length)
        points = torch.bmm(self.there, tiles.transpose(1, 2)).view(s * tiling.points, self.stride * c, -1)
        points = torch.bmm(self.spectra, points.to(self.product)).view(s, tiling.points, -1)
        frames = torch.bmm(points.to(padded.dtype).transpose(1, 2), self.back)
        return frames.view(s, self.channels, n, v, -1)[..., : self.frames_out]

    def _ends(self, given: Tensor) -> Sequence[Tensor]:
        """What the convolution sees beyond the ends: at its first and last outputs, (S, C_out, N, V, few) each."""
        s, c, n, v, t = given.shape
        near = min(_REACH, t)
        seen = torch.stack([given[..., :near], given[..., t - near :]], 1).permute(0, 1, 2, 5, 3, 4)
        found = torch.bmm(self.ends, seen.reshape(2 * s, c * near, n * v).to(self.product)).to(given.dtype)
        return found.view(s, 2, self.channels, -1, n, v).permute(1, 0, 2, 4, 5, 3).unbind(0)


class Tiling(NamedTuple):
    """How the frequency domain is used: `tiles` of `out` outputs each; `taps` frames of each of the stride's
    phases are seen, so a tile is `length` frames of a phase."""

    tiles: int
    out: int
    taps: int
    stride: int

    @classmethod
    def best(cls, frames_out: int, stride: int, channels: int, channels_out: int) -> "Tiling":
        """The one with the least work, by a rough account of products, transforms and reading of weights."""

        def work(tiling: Tiling) -> int:
            columns, pairs = _COLUMNS * tiling.tiles, stride * channels * channels_out
            transforms = tiling.length * stride * channels + tiling.out * channels_out
            return tiling.points * ((columns + _FETCHING) * pairs + columns * transforms)

        taps = -(-_TAPS // stride)
        outs = sorted({-(-frames_out // count) for count in range(1, frames_out + 1)})
        return min((cls(-(-frames_out // out), out, taps, stride) for out in outs), key=work)

    @property
    def length(self) -> int:
        return self.out + self.taps - 1

    @property
    def padded(self) -> int:
        """Frames with the zeros before and after them."""
        return self.stride * (self.tiles * self.out + self.taps - 1)

    @property
    def real(self) -> int:
        """Frequencies at which the transform is real."""
        return 1 if self.length % 2 else 2

    @property
    def points(self) -> int:
        """Real products that a tile takes: one at a real frequency, three at a complex one."""
        return self.real + 3 * ((self.length - self.real) // 2)

    def transforms(self) -> tuple[Tensor, Tensor]:
        """(points, length) there, and (points, out) back."""
        frames = torch.arange(self.length, dtype=torch.float64)
        real = torch.stack([torch.ones_like(frames), (-1) ** frames])[: self.real]
        angles = 2 * math.pi / self.length * frames[1 : (self.length + 1) // 2, None] * frames
        cos, sin = angles.cos(), angles.sin()
        there = torch.cat([real, cos - sin, cos, -sin])
        back = torch.cat([real, 2 * (cos - sin), -2 * sin, -2 * cos]) / self.length
        return there, back[:, : self.out].contiguous()

    def spectrum(self, taps: Tensor) -> Tensor:
        """(points, C_out, stride * C) factors from taps (19, C_out, C): with A + iB those of a complex frequency and
        r + is what comes there, A (r + s), (B - A) r and (A + B) s make the product."""
        missing = self.taps * self.stride - len(taps)
        phases = F.pad(taps, (0, 0, 0, 0, 0, missing)).unflatten(0, (self.taps, self.stride))
        factors = torch.fft.rfft(phases.transpose(1, 2).flatten(2), n=self.length, dim=0).conj()
        complex_ = factors[1 : (self.length + 1) // 2]
        real = factors.real[[0, -1][: self.real]]
        return torch.cat([real, complex_.real, complex_.imag - complex_.real, complex_.real + complex_.imag])


class _FoldedChain(NamedTuple):
    """taps (19, C_out, C) and bias (C_out, T') of the one convolution, and, to be taken away, the maps from the first
    and the last few frames to what it sees beyond them (outputs, frames, C_out, C)."""

    taps: Tensor
    bias: Tensor
    ends: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, chain: Sequence[TemporalConv], frames: int, stride: int, accuracy: torch.dtype) -> "_FoldedChain":
        (a, a_bias), (b, b_bias), (c, c_bias) = stages = [_stage(conv, accuracy) for conv in chain]
        two, two_bias = _one_after_the_other(a, b), b_bias + b.sum(0) @ a_bias
        outputs = range(0, frames, stride)
        bias = (c_bias + c.sum(0) @ two_bias)[:, None].repeat(1, len(outputs))
        first = [t for t in outputs if t < _REACH]
        last = [frames - 1 - t for t in outputs if frames - 1 - t < _REACH]
        before, bias_before = _beyond(stages, (two, two_bias), first, frames)
        flipped = [(weight.flip(0), bias) for weight, bias in stages]
        after, bias_after = _beyond(flipped, (two.flip(0), two_bias), last, frames)
        bias[:, : len(first)] -= bias_before.T
        bias[:, len(outputs) - len(last) :] -= bias_after.T
        return cls(_one_after_the_other(two, c), bias, (before, after.flip(1)))

    def matrix(self, frames: int, stride: int) -> Tensor:
        """(C_out * T', C * T): the chain as a whole."""
        _, channels_out, channels = self.taps.shape
        outputs, near = -(-frames // stride), self.ends[0].shape[1]
        whole = self.taps.new_zeros(outputs, frames, channels_out, channels)
        for t in range(outputs):
            start = t * stride - _TAPS // 2
            seen = range(max(start, 0), min(start + _TAPS, frames))
            whole[t, seen.start : seen.stop] = self.taps[seen.start - start : seen.stop - start]
        whole[: len(self.ends[0]), :near] -= self.ends[0]
        whole[outputs - len(self.ends[1]) :, frames - near :] -= self.ends[1]
        return whole.permute(2, 0, 3, 1).reshape(channels_out * outputs, channels * frames)


def _stage(conv: TemporalConv, accuracy: torch.dtype) -> tuple[Tensor, Tensor]:
    """Taps (7, C_out, C) and bias (C_out) of a convolution of two kernel sizes with its normalisations."""
    weights, biases = [], []
    for branch in conv.branches:
        assert isinstance(branch, TemporalBranch) and branch.conv.bias is not None
        scale, shift = scale_and_shift(branch.norm)
        weight = exact(branch.conv.weight)[..., 0] * scale[:, None, None]
        weights.append(F.pad(weight, [(_STAGE - weight.shape[2]) // 2] * 2))
        biases.append(exact(branch.conv.bias) * scale + shift)
    return torch.cat(weights).permute(2, 0, 1).to(accuracy).contiguous(), torch.cat(biases).to(accuracy)


def _one_after_the_other(a: Tensor, b: Tensor) -> Tensor:
    """Taps of the convolution b of what the convolution a gives."""
    both = a.new_zeros(len(a) + len(b) - 1, b.shape[1], a.shape[2])
    for i, tap in enumerate(b):
        both[i : i + len(a)] += tap @ a
    return both


def _beyond(
    stages: Sequence[tuple[Tensor, Tensor]], two: tuple[Tensor, Tensor], outputs: Sequence[int], frames: int
) -> tuple[Tensor, Tensor]:
    """What outputs at these frames get by way of frames before the first, where the stages between see zeros.

    That is all that the second stage makes at frames below 0, and what it makes at others from the first stage's frames
    below 0. two: taps and bias of the first two stages as one. Returns the maps from the outermost frames (outputs,
    frames, C_out, C), and biases (outputs, C_out).
    """
    (a, a_bias), (b, b_bias), (c, _) = stages
    near, half = min(_REACH, frames), _STAGE // 2
    maps = a.new_zeros(len(outputs), near, c.shape[1], a.shape[2])
    biases = a.new_zeros(len(outputs), c.shape[1])
    for middle in range(-half, min(half, frames)):
        if middle < 0:
            seen, bias = two[0][2 * half - middle :][:near], two[1]
        else:
            seen, bias = a.new_zeros(min(half, near), b.shape[1], a.shape[2]), torch.zeros_like(b_bias)
            for inner in range(middle - half, 0):
                tap, few = b[inner - middle + half], a[half - inner :][:near]
                seen[: len(few)] += tap @ few
                bias += tap @ a_bias
        for i, t in enumerate(outputs):
            if middle - half <= t <= middle + half:
                tap = c[middle - t + half]
                maps[i, : len(seen)] += tap @ seen
                biases[i] += tap @ bias
    return maps, biases
