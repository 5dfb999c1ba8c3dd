"""The folded network. Tensors run channels first and frames last, (S, C, N, V, T), with S networks side by side: so
each linear map is a matrix product of tensors as they lie, and nothing is permuted."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsta.folded.chain import Chain
from dsta.folded.maps import LinearMaps, Numbers, after_norm, exact, scale_and_shift, then_norm
from dsta.model import DSTA, EPS, Block, Gates, Residual, SpatialAttention
from dsta.skeleton import NUM_JOINTS

_SIDE_BY_SIDE = 2**19  # bytes of a network's largest tensor, one input, up to which several run faster as one
_AT_ONCE = 2**23  # bytes of the largest tensor on a CPU, that the cache may hold it


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

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (S, N, K) and embeddings (S, N, D) of inputs (S, N, C, T, 27), of which each network has its own."""
        s, n, *rest = inputs.shape
        if (s, *rest) != self.shape:
            wanted = ", N, ".join(", ".join(map(str, part)) for part in (self.shape[:1], self.shape[1:]))
            raise ValueError(f"expected ({wanted}), got {tuple(inputs.shape)}")
        each = len(inputs) // len(self.stacks)
        few = n if inputs.is_cuda else max(1, _AT_ONCE // (each * self.bytes_each))
        parts = [
            [stack(some) for some in own.split(few, 1)]
            for stack, own in zip(self.stacks, inputs.split(each), strict=True)
        ]
        logits, embeddings = (torch.cat([torch.cat([each[i] for each in own], 1) for own in parts]) for i in (0, 1))
        return logits, embeddings


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
        as_ = Numbers(as_.kept, as_.kept)
        self.classifier = as_.linear([m.classifier.weight for m in models], [m.classifier.bias for m in models])

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        x = inputs.to(self.scale.dtype).permute(0, 2, 1, 4, 3)
        x = torch.addcmul(self.shift, x, self.scale).contiguous()
        for block in self.blocks:
            x = block(x)
        embeddings = x.mean((3, 4))
        return self.classifier(embeddings).transpose(1, 2), embeddings.transpose(1, 2)


class _Block:
    """As `dsta.model.Block`, (S, C_in, N, V, T) -> (S, C_out, N, V, T')."""

    def __init__(self, blocks: Sequence[Block], frames: int, as_: Numbers) -> None:
        self.spatial = _Spatial([block.spatial for block in blocks], frames, as_)
        self.gates = _Gates([block.gates for block in blocks], as_)
        self.chain = Chain([list(block.temporal) for block in blocks], frames, as_)  # type: ignore[arg-type]
        biases, self.residual = self.chain.biases, None
        if blocks[0].residual is not None:
            maps = [_residual(block.residual) for block in blocks]  # type: ignore[arg-type]
            self.residual = as_.linear([weight for weight, _ in maps])
            biases = [bias + more[:, None] for bias, (_, more) in zip(biases, maps, strict=True)]
        self.bias = as_.stack([bias[:, None, None] for bias in biases])

    def __call__(self, x: Tensor) -> Tensor:
        y = self.spatial(x)
        y = self.chain(y, self.gates(y))
        y = torch.add(y, self.bias, out=self.bias.new_empty(y.shape))
        if self.residual is not None:
            self.residual.add_to(y.flatten(2), x[..., :: self.chain.stride].flatten(2))
        return y.relu_()


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
        self.project = _maps([then_norm(p.project, p.project_norm) for p in parts], as_)
        both = [after_norm(p.graph_norm, p.query_key.weight, p.query_key.bias) for p in parts]
        self.query, self.key = (_maps([(w.chunk(2)[i], b.chunk(2)[i]) for w, b in both], as_) for i in (0, 1))
        self.edge_scores = _maps([_edge_scores(p) for p in parts], as_)
        self.edge_features = as_.linear(_edge_features(p) for p in parts)
        self.mlp_in = _maps([after_norm(p.mlp_norm, p.mlp_in.weight, p.mlp_in.bias) for p in parts], as_)
        self.mlp_out = as_.linear(p.mlp_out.weight for p in parts)
        mixings = [_mixing(p) for p in parts]
        self.mixing = as_.stack(weight[:, None] for weight, _ in mixings)
        self.bias = as_.stack(bias[:, None, :, None] for _, bias in mixings)
        downs = [p.down for p in parts if isinstance(p.down, nn.Sequential)]
        self.down = as_.linear(then_norm(*down)[0] for down in downs) if downs else None

    def __call__(self, x: Tensor) -> Tensor:
        s, _, n, v, t = x.shape
        flat = x.flatten(2)
        z = self.project(flat).to(x.dtype)
        normed = _normalised(z)
        given = normed.to(self.product)
        y = self._attended(z.view(s, -1, n, v, t), normed, given)
        hidden = F.gelu(self.mlp_in(_normalised(y)))
        self.mlp_out.add_to(y, hidden)
        self.edge_features.add_to(y, self.edge_scores(given).tanh_())
        down = flat if self.down is None else self.down(flat).to(x.dtype)
        mixing = self.mixing.expand(-1, -1, n, -1, -1).reshape(-1, v, v)
        y = torch.baddbmm(down.view(-1, v, t), mixing, y.view(-1, v, t)).view(s, -1, n, v, t)
        return y.add_(self.bias).relu_()

    def _attended(self, z: Tensor, normed: Tensor, given: Tensor) -> Tensor:
        """z and what each joint takes of the others' values, (S, C, P). Graphs are of clip and head, (to, from)."""
        s, c, n, v, t = z.shape
        query, key = (maps(given).view(-1, v, t) for maps in (self.query, self.key))
        graph = torch.bmm(key, query.transpose(1, 2)).view(s, self.heads, c // self.heads, n, v, v)
        graph = graph.sum(2, keepdim=True, dtype=z.dtype).div_(self.seen).tanh_() * self.alpha
        weights = (graph * self.value_scale).view(-1, v, v)
        y = torch.baddbmm(z.view(-1, v, t), weights, normed.view(-1, v, t)).view(z.shape)
        return y.add_((graph.sum(-1) * self.value_shift).view(s, c, n, v, 1)).flatten(2)


class _Gates:
    """As `dsta.model.Gates`: joints in place; the factors (S, C, N, T) of frames and channels come back."""

    def __init__(self, gates: Sequence[Gates], as_: Numbers) -> None:
        as_ = Numbers(as_.kept, as_.kept)
        self.joints, self.joint_bias = _taps([g.joints for g in gates], as_)
        self.frames, self.frame_bias = _taps([g.frames for g in gates], as_)
        self.channels_in = _maps([(g.channels_in.weight, g.channels_in.bias) for g in gates], as_)
        self.channels_out = _maps([(g.channels_out.weight, g.channels_out.bias) for g in gates], as_)

    def __call__(self, y: Tensor) -> Tensor:
        y.mul_(_gate(self.joints, self.joint_bias, y.mean(4))[:, None, ..., None])
        means = y.mean(3)
        frames = _gate(self.frames, self.frame_bias, means)[:, None]
        hidden = self.channels_in(means.mul_(frames).mean(3)).relu_()
        channels = self.channels_out(hidden).sigmoid_().add_(1)
        return frames * channels[..., None]


def _maps(folded: Sequence[tuple[Tensor, Tensor]], as_: Numbers) -> LinearMaps:
    return as_.linear([weight for weight, _ in folded], [bias for _, bias in folded])


def _taps(convs: Sequence[nn.Conv1d], as_: Numbers) -> tuple[LinearMaps, Tensor]:
    """Of convolutions to one channel: maps (taps, C), and biases (S, 1, 1)."""
    biases = [conv.bias[:, None] for conv in convs if conv.bias is not None]
    return as_.linear(conv.weight[0].T for conv in convs), as_.stack(biases)


def _normalised(x: Tensor) -> Tensor:
    """Layer normalisation of (S, C, P) over C, without what it multiplies by and adds."""
    x = x - x.mean(1, keepdim=True)
    return x.mul_((x * x).mean(1, keepdim=True).add_(EPS).rsqrt_())


def _gate(conv: LinearMaps, bias: Tensor, means: Tensor) -> Tensor:
    """1 + σ of a convolution to one channel, (S, C, N, L) -> (S, N, L): the products of its taps, added up askew."""
    s, c, n, length = means.shape
    taps = conv.weight.shape[1]
    padded = means.new_zeros(s, taps, n, length + taps - 1)
    padded[..., taps // 2 : taps // 2 + length] = conv(means.reshape(s, c, -1)).view(s, taps, n, length)
    network, tap, clip, place = padded.stride()
    askew = padded.as_strided((s, taps, n, length), (network, tap + place, clip, place))
    return askew.sum(1).add_(bias).sigmoid_().add_(1)


def _edge_scores(part: SpatialAttention) -> tuple[Tensor, Tensor]:
    """Map and bias of the centred and scaled z to the scores of the edge features before tanh."""
    edge, features = part.edge, exact(part.edge.features)
    weight, bias = after_norm(edge.norm, edge.transform.weight, edge.transform.bias)
    return features.T @ weight, features.T @ bias


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
