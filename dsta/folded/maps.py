"""Linear maps over channels, of several networks side by side, and how a network's layers become one of them."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Numbers(NamedTuple):
    """Number formats: of matrix products, and of all else."""

    product: torch.dtype
    kept: torch.dtype

    @property
    def exact(self) -> "Numbers":
        """Products in the better format too."""
        return Numbers(self.kept, self.kept)

    def maps(self, weights: Iterable[Tensor], biases: Iterable[Tensor] | None = None) -> Tensor:
        """(S, C_out, C) of networks' weights (C_out, C); with biases (C_out), (S, C_out, C + 1) for `with_ones`."""
        whole = torch.stack(list(weights))
        if biases is not None:
            whole = torch.cat([whole, torch.stack(list(biases))[..., None]], 2)
        return whole.to(self.product).contiguous()

    def stack(self, tensors: Iterable[Tensor]) -> Tensor:
        """What else networks have, side by side."""
        return torch.stack(list(tensors)).to(self.kept).contiguous()


def with_ones(like: Tensor, *shape: int) -> Tensor:
    """An empty tensor (S, C, …) with one more channel, of ones, by which the maps' biases come in."""
    made = like.new_empty(shape[0], shape[1] + 1, *shape[2:])
    made[:, -1] = 1
    return made


def add_product(y: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """Adds weight (S, C_out, C) times x (S, C, P) to y in place."""
    if y.dtype == weight.dtype:
        return y.baddbmm_(weight, x)
    return y.add_(torch.bmm(weight, x.to(weight.dtype)))


def exact(tensor: Tensor) -> Tensor:
    """A copy in float64, in which folding is done."""
    return tensor.detach().double()


def scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """(C), (C): what a batch normalisation multiplies by and adds in evaluation."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = exact(norm.weight) / torch.sqrt(exact(norm.running_var) + norm.eps)
    return scale, exact(norm.bias) - exact(norm.running_mean) * scale


def then_norm(layer: nn.Linear, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Weight (C_out, C) and bias (C_out) of a linear layer and the batch normalisation that follows it."""
    scale, shift = scale_and_shift(norm)
    return exact(layer.weight) * scale[:, None], exact(layer.bias) * scale + shift


def after_norm(norm: nn.LayerNorm, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear map that takes in what the layer normalisation before it only centred and scaled."""
    weight = exact(weight)
    return weight * exact(norm.weight), exact(bias) + weight @ exact(norm.bias)
