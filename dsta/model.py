"""DSTA: the network as the paper has it (arXiv 2403.12519, section 3; upstream `model/fstgan.py`).

Tensors inside run channels last, (N, T, V, C): most of the work is linear maps over C.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsta.common import UserError
from dsta.skeleton import NUM_JOINTS, adjacency

EPS = 1e-5
DROPBLOCK_FRAMES = 41
DROPBLOCK_NEIGHBOURS = 1.92  # the reference's mean number of neighbours of a joint; the seed itself makes 2.92
_DEEPEST = 16  # halved as often, no window has a frame left


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network. The defaults are the paper's; `inner_dim` and `depth` make compact ones.

    Block i ≥ 1 doubles the channels and halves the frames; heads must divide `inner_dim`. taught: how many of the
    classes, the last ones, were taught by a few examples (`dsta.teach`).
    """

    num_classes: int
    in_channels: int = 3
    inner_dim: int = 64
    depth: int = 4
    heads: int = 8
    edge_features: int = 6
    mlp_ratio: int = 4
    taught: int = 0

    def __post_init__(self) -> None:
        sizes = asdict(self)
        if not 0 <= sizes.pop("taught") <= self.num_classes:
            raise UserError("A model can have no more taught classes than classes.")
        if min(sizes.values()) < 1 or self.inner_dim % self.heads:
            raise UserError("Model sizes must be positive, and inner_dim a multiple of heads.")
        if self.depth > _DEEPEST:
            raise UserError(f"A model of depth {self.depth} cannot be: each block halves the frames; give 16 at most.")

    @property
    def blocks(self) -> list[tuple[int, int, int]]:
        """(channels in, channels of the spatial part, channels out) of each block."""
        first = (self.in_channels, self.inner_dim, self.inner_dim)
        return [first] + [
            (self.inner_dim * 2 ** (i - 1), self.inner_dim * 2 ** (i - 1), self.inner_dim * 2**i)
            for i in range(1, self.depth)
        ]

    @property
    def least_parameters(self) -> int:
        """Numbers in the largest tensors; the network has a few more. Known before any room is made for one."""
        blocks = sum(
            c * (c_in + NUM_JOINTS**2 + self.edge_features + 2 * self.mlp_ratio * c) for c_in, c, _ in self.blocks
        )
        return blocks + self.blocks[-1][-1] * self.num_classes

    def to_dict(self) -> dict[str, Any]:
        return {name: size for name, size in asdict(self).items() if name != "taught" or size}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The sizes written by `to_dict`. Raises UserError when a field is unknown or missing."""
        try:
            return cls(**values)
        except TypeError as error:
            raise UserError(
                f"The model sizes in the configuration do not fit this version of dsta: {error}."
            ) from error


def _zero_bias(layer: nn.Conv1d | nn.Conv2d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class ChannelNorm(nn.BatchNorm1d):
    """Batch normalisation of (..., C) over everything but C."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


class EdgeBranch(nn.Module):
    """Learned edge features that each joint attends to by its own channels (paper, equation 5)."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.transform = nn.Linear(channels, channels)
        self.features = nn.Parameter(torch.empty(channels, features))
        self.alpha = nn.Parameter(torch.ones(features))
        nn.init.trunc_normal_(self.features, std=0.02)

    def forward(self, z: Tensor) -> Tensor:
        scores = torch.tanh(self.transform(self.norm(z)) @ self.features)
        return (scores * (self.alpha / z.shape[-1])) @ self.features.t()


class SpatialAttention(nn.Module):
    """SAN: one joint graph per clip and head, then a fixed learned mixing of joints per channel."""

    def __init__(self, c_in: int, c: int, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.project = nn.Linear(c_in, c)
        self.project_norm = ChannelNorm(c)
        self.edge = EdgeBranch(c, config.edge_features)
        self.edge_weight = nn.Parameter(torch.zeros(1))
        self.graph_norm = nn.LayerNorm(c, eps=EPS)
        self.query_key = nn.Linear(c, 2 * c)
        self.alpha = nn.Parameter(torch.ones(config.heads))
        self.mlp_norm = nn.LayerNorm(c, eps=EPS)
        self.mlp_in = nn.Linear(c, config.mlp_ratio * c)
        self.mlp_out = nn.Linear(config.mlp_ratio * c, c)
        self.mixing = nn.Parameter(torch.full((c, NUM_JOINTS, NUM_JOINTS), 1 / NUM_JOINTS))
        self.norm = ChannelNorm(c)
        down = nn.Linear(c_in, c) if c_in != c else None
        self.down = nn.Sequential(down, ChannelNorm(c)) if down else nn.Identity()
        nn.init.normal_(self.project.weight, std=math.sqrt(0.5 / c))
        nn.init.constant_(self.project.bias, 1e-6)
        nn.init.constant_(self.norm.weight, 1e-6)
        for layer in (self.mlp_in, self.mlp_out):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            _zero_bias(layer)
        if down:
            nn.init.kaiming_normal_(down.weight, mode="fan_out")
            _zero_bias(down)

    def forward(self, x: Tensor) -> Tensor:
        n, t, v, _ = x.shape
        z = self.project_norm(self.project(x))
        c, h = z.shape[-1], self.heads
        value = self.graph_norm(z)
        query, key = self.query_key(value).view(n, t, v, 2, h, c // h).permute(3, 0, 4, 2, 1, 5).flatten(4).unbind(0)
        graph = torch.tanh(query @ key.transpose(-1, -2) / (c // h * t)) * self.alpha.view(h, 1, 1)
        mixed = graph.transpose(-1, -2) @ value.view(n, t, v, h, c // h).permute(0, 3, 2, 1, 4).flatten(3)
        y = mixed.view(n, h, v, t, c // h).permute(0, 3, 2, 1, 4).reshape(n, t, v, c) + z
        y = y + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(y)))) + self.edge_weight * self.edge(z)
        y = torch.bmm(y.permute(3, 0, 1, 2).reshape(c, n * t, v), self.mixing)
        y = y.view(c, n, t, v).permute(1, 2, 3, 0)
        return F.relu(self.norm(y) + self.down(x))


class Gates(nn.Module):
    """Attention over joints, then frames, then channels, each y ← y·σ(·) + y (paper, section 3.3)."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.joints = nn.Conv1d(c, 1, NUM_JOINTS, padding=NUM_JOINTS // 2)
        self.frames = nn.Conv1d(c, 1, 9, padding=4)
        self.channels_in = nn.Linear(c, c // 2)
        self.channels_out = nn.Linear(c // 2, c)
        nn.init.xavier_normal_(self.joints.weight)
        _zero_bias(self.joints)
        nn.init.kaiming_normal_(self.channels_in.weight)
        for layer in (self.frames, self.channels_out):
            nn.init.zeros_(layer.weight)
            _zero_bias(layer)

    def forward(self, y: Tensor) -> Tensor:
        joints = torch.sigmoid(self.joints(y.mean(1).transpose(1, 2)))
        y = y * (1 + joints).transpose(1, 2)[:, None]
        frames = torch.sigmoid(self.frames(y.mean(2).transpose(1, 2)))
        y = y * (1 + frames).transpose(1, 2)[:, :, None]
        channels = torch.sigmoid(self.channels_out(F.relu(self.channels_in(y.mean((1, 2))))))
        return y * (1 + channels)[:, None, None]


class DropBlock(nn.Module):
    """Drops joints with their neighbours, then runs of frames, where activations are large (training only).

    The reference yields NaN when everything is dropped; here such a call returns zeros.
    """

    graph: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("graph", torch.from_numpy(adjacency()), persistent=False)

    def forward(self, x: Tensor, keep: float | Tensor) -> Tensor:
        if not self.training or (not isinstance(keep, Tensor) and keep >= 1):
            return x
        seeds = self._seeds(x.abs().mean((1, 3)), (1 - keep) / (1 + DROPBLOCK_NEIGHBOURS))
        x = self._mask(x, (seeds @ self.graph > 0)[:, None, :, None])
        seeds = self._seeds(x.abs().mean((2, 3)), (1 - keep) / DROPBLOCK_FRAMES)
        runs = F.max_pool1d(seeds[:, None], DROPBLOCK_FRAMES, stride=1, padding=DROPBLOCK_FRAMES // 2)
        return self._mask(x, (runs > 0).transpose(1, 2)[..., None])

    def batch_mean(self, x: Tensor) -> Tensor:
        """Mean over the batch, which `dsta.train.distributed` spreads over processes."""
        return x.mean()

    def uniform(self, x: Tensor) -> Tensor:
        """A number from 0 to 1 for each of x, whose first axis is the batch."""
        return torch.rand_like(x)

    def _seeds(self, energy: Tensor, gamma: float | Tensor) -> Tensor:
        energy = energy.detach().to(self.graph.dtype)
        share = energy / self.batch_mean(energy).clamp(min=torch.finfo(energy.dtype).tiny)
        return (self.uniform(energy) < share * gamma).to(energy.dtype)

    def _mask(self, x: Tensor, dropped: Tensor) -> Tensor:
        kept = self.batch_mean((~dropped).to(self.graph.dtype))
        return x * ~dropped * kept.clamp(min=1e-9).reciprocal()


class TemporalBranch(nn.Module):
    """Convolution over frames and its normalisation."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, (kernel, 1), stride=(stride, 1), padding=(kernel // 2, 0))
        self.norm = ChannelNorm(c_out)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")
        _zero_bias(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class TemporalConv(nn.Module):
    """Two kernel sizes side by side, no activation (multi-scale temporal convolution)."""

    def __init__(self, c_in: int, c_out: int, stride: int, drop: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(TemporalBranch(c_in, c_out // 2, kernel, stride) for kernel in (5, 7))
        self.drop = DropBlock() if drop else None

    def forward(self, x: Tensor, keep: float | Tensor) -> Tensor:
        parts = [branch(x) for branch in self.branches]
        return torch.cat([self.drop(part, keep) for part in parts] if self.drop else parts, -1)


class Residual(nn.Module):
    """Per-channel doubling, then a full map, of every second frame."""

    def __init__(self, c_in: int, c_out: int, drop: bool) -> None:
        super().__init__()
        self.expand = nn.Conv1d(c_in, c_out, 1, groups=c_in)
        self.project = nn.Linear(c_out, c_out)
        self.norm = ChannelNorm(c_out)
        self.drop = DropBlock() if drop else None

    def forward(self, x: Tensor, keep: float | Tensor) -> Tensor:
        doubled = x[:, ::2].repeat_interleave(2, -1) * self.expand.weight.flatten() + self.expand.bias  # type: ignore[operator]
        y = self.norm(self.project(doubled))
        return self.drop(y, keep) if self.drop else y


class Block(nn.Module):
    """Spatial attention, the three gates, a chain of three temporal convolutions, and the residual."""

    def __init__(self, index: int, sizes: tuple[int, int, int], config: ModelConfig) -> None:
        super().__init__()
        c_in, c, c_out = sizes
        drop = index >= 2
        self.spatial = SpatialAttention(c_in, c, config)
        self.gates = Gates(c)
        stride = 2 if index else 1
        self.temporal = nn.ModuleList(
            [
                TemporalConv(c, c_out, 1, drop),
                TemporalConv(c_out, c_out, 1, drop),
                TemporalConv(c_out, c_out, stride, drop),
            ]
        )
        self.residual = Residual(c_in, c_out, drop) if index else None

    def forward(self, x: Tensor, keep: float | Tensor) -> Tensor:
        y = self.gates(self.spatial(x))
        for layer in self.temporal:
            y = layer(y, keep)
        return F.relu(y if self.residual is None else y + self.residual(x, keep))


class TaughtClassifier(nn.Linear):
    """A last layer of which the last `taught` classes see the embedding at length 1, as cosines do."""

    def __init__(self, channels: int, classes: int, taught: int) -> None:
        super().__init__(channels, classes)
        self.taught = taught

    def forward(self, embeddings: Tensor) -> Tensor:
        vocabulary = self.out_features - self.taught
        both = [F.linear(embeddings, self.weight[:vocabulary], self.bias[:vocabulary])]
        both.append(F.linear(F.normalize(embeddings, dim=-1), self.weight[vocabulary:], self.bias[vocabulary:]))
        return torch.cat(both, -1)


class DSTA(nn.Module):
    """Dynamic spatial-temporal aggregation: (N, in_channels, T, 27) -> logits (N, num_classes), for any T ≥ 1.

    `keep` is DropBlock's keep probability, used in training mode only; a tensor where a compiled network must not be
    compiled anew for each value.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.input_norm = nn.BatchNorm1d(NUM_JOINTS * config.in_channels, eps=EPS)
        self.blocks = nn.ModuleList(Block(i, sizes, config) for i, sizes in enumerate(config.blocks))
        c_out = config.blocks[-1][2]
        self.classifier = nn.Linear(c_out, config.num_classes)
        if config.taught:
            self.classifier = TaughtClassifier(c_out, config.num_classes, config.taught)
        nn.init.normal_(self.classifier.weight, std=math.sqrt(2 / config.num_classes))

    def forward(self, x: Tensor, keep: float | Tensor = 1.0) -> Tensor:
        return self.classifier(self.embed(x, keep))

    def embed(self, x: Tensor, keep: float | Tensor = 1.0) -> Tensor:
        """The pooled features before the classifier: (N, in_channels, T, 27) -> (N, D)."""
        n, c, t, v = x.shape
        if (c, v) != (self.config.in_channels, NUM_JOINTS):
            raise ValueError(f"expected (N, {self.config.in_channels}, T, {NUM_JOINTS}), got {tuple(x.shape)}")
        x = self.input_norm(x.permute(0, 3, 1, 2).reshape(n, v * c, t))
        x = x.view(n, v, c, t).permute(0, 3, 1, 2).contiguous()
        for block in self.blocks:
            x = block(x, keep)
        return x.mean((1, 2))
