"""The folded network. Tensors run channels first and frames last, (S, C, N, V, T), with S networks side by side: so
each linear map is a matrix product of tensors as they lie, and nothing is permuted."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from threading import Barrier
from typing import TypeVar

import torch
from torch import Tensor, nn

from dsta.folded.chain import Chain
from dsta.folded.maps import Numbers, add_product, after_norm, exact, scale_and_shift, then_norm, with_ones
from dsta.model import DSTA, EPS, Block, Gates, Residual, SpatialAttention
from dsta.skeleton import NUM_JOINTS

Result = TypeVar("Result")
_SIDE_BY_SIDE = 2**18  # bytes of a network's largest tensor, one input, up to which several are one stack
_AT_ONCE = 2**21  # bytes of the largest tensor on a CPU, that its cache may hold it; but four inputs at least


class FoldedNetworks:
    """Networks of the same sizes for inputs of `frames` frames: a snapshot, which later training leaves alone.

    half: matrix products are in bfloat16, all else in float32; else all is in the networks' own number format.
    """

    def __init__(self, models: Sequence[DSTA], frames: int, half: bool = False) -> None:
        if any(model.config != models[0].config for model in models):
            raise ValueError("networks of different sizes do not run side by side")
        config = models[0].config
        self.shape = (len(models), config.in_channels, frames, NUM_JOINTS)
        self.bytes_each = 4 * config.mlp_ratio * config.inner_dim * NUM_JOINTS * frames
        together = [models] if self.bytes_each <= _SIDE_BY_SIDE else [[model] for model in models]
        with torch.no_grad():
            self.stacks = [_Stack(part, frames, half) for part in together]

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (S, N, K) and embeddings (S, N, D) of inputs (S, N, C, T, 27), of which each network has its own."""
        s, n, *rest = inputs.shape
        if (s, *rest) != self.shape:
            wanted = ", N, ".join(", ".join(map(str, part)) for part in (self.shape[:1], self.shape[1:]))
            raise ValueError(f"expected ({wanted}), got {tuple(inputs.shape)}")
        each = s // len(self.stacks)
        few = n if inputs.is_cuda else max(4, _AT_ONCE // (each * self.bytes_each))
        pieces = [own.split(few, 1) for own in inputs.split(each)]
        tasks = [partial(stack, piece) for stack, own in zip(self.stacks, pieces, strict=True) for piece in own]
        done = [task() for task in tasks] if inputs.is_cuda else _done_by_threads(tasks)
        rows = [done[i : i + len(pieces[0])] for i in range(0, len(done), len(pieces[0]))]
        logits, embeddings = (torch.cat([torch.cat([each[i] for each in row], 1) for row in rows]) for i in (0, 1))
        return logits, embeddings


def _done_by_threads(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """The tasks' results. Each task has some of the cores for itself, which small operations share badly."""
    cores = torch.get_num_threads()
    workers = min(cores, len(tasks))
    if workers < 2:
        return [task() for task in tasks]
    return list(_threads(os.getpid(), workers, cores // workers).map(lambda task: task(), tasks))


@cache
def _threads(process: int, count: int, cores: int) -> ThreadPoolExecutor:
    """Threads that use so many cores each. process: its number, for a fork has none of its parent's threads."""
    before, all_here = torch.get_num_threads(), Barrier(count)
    pool = ThreadPoolExecutor(count, "folded", torch.set_num_threads, (cores,))
    try:
        list(pool.map(lambda _: all_here.wait(), range(count)))
    except RuntimeError:  # no thread can be started: those that were wait no longer for the others
        all_here.abort()
        pool.shutdown(wait=False)
        raise
    torch.set_num_threads(before)  # what the next new thread begins with
    return pool


class _Stack:
    """Networks side by side, (S, N, C, T, V) -> logits (S, N, K) and embeddings (S, N, D)."""

    def __init__(self, models: Sequence[DSTA], frames: int, half: bool) -> None:
        own = models[0].classifier.weight.dtype
        as_ = Numbers(torch.bfloat16, torch.float32) if half else Numbers(own, own)
        shape = (NUM_JOINTS, models[0].config.in_channels)
        norms = [[part.view(shape).T[:, None, :, None] for part in scale_and_shift(m.input_norm)] for m in models]
        self.scale, self.shift = (as_.stack(part) for part in zip(*norms, strict=True))
        self.blocks: list[_Block] = []
        for i in range(models[0].config.depth):
            self.blocks.append(_Block([m.blocks[i] for m in models], frames, as_))  # type: ignore[misc]
            frames = self.blocks[-1].chain.frames_out
        classifiers = [m.classifier for m in models]
        self.classifier = as_.stack(c.weight.T for c in classifiers), as_.stack(c.bias[None] for c in classifiers)

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        s, n, c, t, v = inputs.shape
        x = with_ones(self.scale, s, c, n, v, t)
        inputs = inputs.to(x.dtype).permute(0, 2, 1, 4, 3)
        torch.addcmul(self.shift, inputs, self.scale, out=x[:, :c])
        for block in self.blocks:
            x = block(x)
        embeddings = x[:, :-1].mean((3, 4)).transpose(1, 2)
        weight, bias = self.classifier
        return torch.baddbmm(bias, embeddings, weight), embeddings


class _Block:
    """As `dsta.model.Block`, (S, C_in + 1, N, V, T) -> (S, C_out + 1, N, V, T'); the last channel is of ones."""

    def __init__(self, blocks: Sequence[Block], frames: int, as_: Numbers) -> None:
        self.spatial = _Spatial([block.spatial for block in blocks], frames, as_)
        self.gates = _Gates([block.gates for block in blocks], as_)
        self.chain = Chain([list(block.temporal) for block in blocks], frames, as_)  # type: ignore[arg-type]
        biases, self.residual = self.chain.biases, None
        if blocks[0].residual is not None:
            maps = [_residual(block.residual) for block in blocks]  # type: ignore[arg-type]
            self.residual = as_.maps(weight for weight, _ in maps)
            biases = [bias + more[:, None] for bias, (_, more) in zip(biases, maps, strict=True)]
        self.bias = as_.stack(bias[:, None, None] for bias in biases)

    def __call__(self, x: Tensor) -> Tensor:
        y = self.spatial(x)
        y = self.chain(y, self.gates(y))
        out = with_ones(self.bias, *y.shape)
        sums = torch.add(y, self.bias, out=out[:, :-1])
        if self.residual is not None:
            add_product(sums.flatten(2), self.residual, x[:, :-1, ..., :: self.chain.stride].flatten(2))
        return out.relu_()


class _Spatial:
    """As `dsta.model.SpatialAttention`: both normalisations of z are one, and so are the maps of the edge branch."""

    def __init__(self, parts: Sequence[SpatialAttention], frames: int, as_: Numbers) -> None:
        self.heads, self.product = parts[0].heads, as_.product
        channels = parts[0].project.out_features
        self.seen = channels // self.heads * frames
        by_head = (self.heads, channels // self.heads, 1, 1, 1)
        self.alpha = as_.stack(exact(p.alpha).view(self.heads, 1, 1, 1, 1) for p in parts)
        self.value_scale = as_.stack(exact(p.graph_norm.weight).view(by_head) for p in parts)
        self.value_shift = as_.stack(exact(p.graph_norm.bias).view(by_head[:-1]) for p in parts)
        first = as_.exact if isinstance(parts[0].down, nn.Sequential) else as_  # few channels, and these coordinates
        self.project = _maps([then_norm(p.project, p.project_norm) for p in parts], first)
        self.query_key_edge = _maps([_query_key_edge(p) for p in parts], as_)
        self.mlp_in = _maps([after_norm(p.mlp_norm, p.mlp_in.weight, p.mlp_in.bias) for p in parts], as_)
        self.added = as_.maps(torch.cat([exact(p.mlp_out.weight), _edge_features(p)], 1) for p in parts)
        mixings = [_mixing(p) for p in parts]
        self.mixing = as_.stack(weight[:, None] for weight, _ in mixings)
        self.bias = as_.stack(bias[:, None, :, None] for _, bias in mixings)
        downs = [p.down for p in parts if isinstance(p.down, nn.Sequential)]
        self.down = first.maps(then_norm(*down)[0] for down in downs) if downs else None

    def __call__(self, x: Tensor) -> Tensor:
        s, _, n, v, t = x.shape
        flat = x.flatten(2)
        z = torch.bmm(self.project, flat.to(self.project.dtype)).to(x.dtype)
        normed = _normalised(z)
        mixed = torch.bmm(self.query_key_edge, normed.to(self.product))
        y = self._attended(z, normed, mixed, (n, v, t))
        add_product(y, self.added, self._hidden(y, mixed[:, 2 * z.shape[1] :]))
        down = flat[:, :-1] if self.down is None else torch.bmm(self.down, flat[:, :-1])
        mixing = self.mixing.expand(-1, -1, n, -1, -1).reshape(-1, v, v)
        y = torch.baddbmm(down.reshape(-1, v, t), mixing, y.view(-1, v, t)).view(s, -1, n, v, t)
        return y.add_(self.bias).relu_()

    def _attended(self, z: Tensor, normed: Tensor, mixed: Tensor, sizes: tuple[int, int, int]) -> Tensor:
        """z and what each joint takes of the others' values, (S, C, P). Graphs are of clip and head, (to, from)."""
        (s, c, _), (n, v, t) = z.shape, sizes
        query, key = (part.reshape(-1, v, t) for part in (mixed[:, :c], mixed[:, c : 2 * c]))
        graph = torch.bmm(key, query.transpose(1, 2)).view(s, self.heads, c // self.heads, n, v, v)
        graph = graph.sum(2, keepdim=True, dtype=z.dtype).div_(self.seen).tanh_() * self.alpha
        weights = (graph * self.value_scale).view(-1, v, v)
        y = torch.baddbmm(z.view(-1, v, t), weights, normed[:, :c].reshape(-1, v, t)).view(s, c, n, v, t)
        return y.add_((graph.sum(-1) * self.value_shift).view(s, c, n, v, 1)).flatten(2)

    def _hidden(self, y: Tensor, edge: Tensor) -> Tensor:
        """What is added to y is a map of this: the MLP's hidden channels, then the scores of the edge features."""
        (s, _, places), inner = y.shape, self.mlp_in.shape[1]
        hidden = self.mlp_in.new_empty(s, inner + edge.shape[1], places)
        torch.bmm(self.mlp_in, _normalised(y).to(self.product), out=hidden[:, :inner])
        torch.ops.aten.gelu_(hidden[:, :inner])
        torch.tanh(edge, out=hidden[:, inner:])
        return hidden


class _Gates:
    """As `dsta.model.Gates`: joints in place; the factors (S, C, N, T) of frames and channels come back."""

    def __init__(self, gates: Sequence[Gates], as_: Numbers) -> None:
        self.joints, self.joint_bias = _taps([g.joints for g in gates], as_)
        self.frames, self.frame_bias = _taps([g.frames for g in gates], as_)
        layers = [g.channels_in for g in gates], [g.channels_out for g in gates]
        self.channels = [as_.exact.maps(layer.weight for layer in same) for same in layers]
        self.channel_biases = [as_.stack(layer.bias[:, None] for layer in same) for same in layers]

    def __call__(self, y: Tensor) -> Tensor:
        y.mul_(_gate(self.joints, self.joint_bias, y.mean(4))[:, None, ..., None])
        means = y.mean(3)
        frames = _gate(self.frames, self.frame_bias, means)[:, None]
        hidden = torch.baddbmm(self.channel_biases[0], self.channels[0], means.mul_(frames).mean(3)).relu_()
        channels = torch.baddbmm(self.channel_biases[1], self.channels[1], hidden).sigmoid_().add_(1)
        return frames * channels[..., None]


def _maps(folded: Sequence[tuple[Tensor, Tensor]], as_: Numbers) -> Tensor:
    return as_.maps([weight for weight, _ in folded], [bias for _, bias in folded])


def _taps(convs: Sequence[nn.Conv1d], as_: Numbers) -> tuple[Tensor, Tensor]:
    """Of convolutions to one channel: maps (S, taps, C) and biases (S, 1, 1)."""
    biases = [conv.bias[:, None] for conv in convs if conv.bias is not None]
    return as_.exact.maps(conv.weight[0].T for conv in convs), as_.stack(biases)


def _gate(taps: Tensor, bias: Tensor, means: Tensor) -> Tensor:
    """1 + σ of a convolution to one channel, (S, C, N, L) -> (S, N, L): the products of its taps, added up askew."""
    (s, _, n, length), count = means.shape, taps.shape[1]
    padded = means.new_zeros(s, count, n, length + count - 1)
    padded[..., count // 2 : count // 2 + length] = torch.bmm(taps, means.flatten(2)).view(s, count, n, length)
    network, tap, clip, place = padded.stride()
    askew = padded.as_strided((s, count, n, length), (network, tap + place, clip, place))
    return askew.sum(1).add_(bias).sigmoid_().add_(1)


def _normalised(x: Tensor) -> Tensor:
    """Layer normalisation of (S, C, P) over C, without what it multiplies by and adds, and a channel of ones."""
    x = x - x.mean(1, keepdim=True)
    out = with_ones(x, *x.shape)
    torch.mul(x, (x * x).mean(1, keepdim=True).add_(EPS).rsqrt_(), out=out[:, :-1])
    return out


def _query_key_edge(part: SpatialAttention) -> tuple[Tensor, Tensor]:
    """Map and bias from the centred and scaled z to queries, keys, and the edge features' scores before tanh."""
    weight, bias = after_norm(part.graph_norm, part.query_key.weight, part.query_key.bias)
    edge, features = part.edge, exact(part.edge.features)
    other, other_bias = after_norm(edge.norm, edge.transform.weight, edge.transform.bias)
    return torch.cat([weight, features.T @ other]), torch.cat([bias, features.T @ other_bias])


def _edge_features(part: SpatialAttention) -> Tensor:
    """(C, E) what each score adds to the channels."""
    features = exact(part.edge.features)
    return features * (exact(part.edge.alpha) * exact(part.edge_weight) / len(features))


def _mixing(part: SpatialAttention) -> tuple[Tensor, Tensor]:
    """The joints' mixing (C, to, from) with its normalisation, and a bias (C, to): also of the MLP and of `down`."""
    scale, shift = scale_and_shift(part.norm)
    mixing = (exact(part.mixing) * scale[:, None, None]).transpose(1, 2)
    bias = shift[:, None] + exact(part.mlp_out.bias)[:, None] * mixing.sum(2)
    if isinstance(part.down, nn.Sequential):
        bias = bias + then_norm(*part.down)[1][:, None]
    return mixing.contiguous(), bias


def _residual(residual: Residual) -> tuple[Tensor, Tensor]:
    """Weight (C_out, C) and bias (C_out) of the residual for every second frame."""
    weight, bias = then_norm(residual.project, residual.norm)
    doubling = exact(residual.expand.weight).flatten()
    bias = bias + weight @ exact(residual.expand.bias)  # type: ignore[arg-type]
    return (weight * doubling).unflatten(1, (-1, 2)).sum(2), bias
