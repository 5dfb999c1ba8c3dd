"""Linear maps over channels, of several networks side by side, and how a network's layers become one of them."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class LinearMaps(NamedTuple):
    """Of S networks, from (S, C, P) to (S, C_out, P) in the weight's number format.

    weight: (S, C_out, C). bias: (S, C_out, 1), if any.
    """

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        return torch.bmm(self.weight, x) if self.bias is None else torch.baddbmm(self.bias, self.weight, x)

    def add_to(self, y: Tensor, x: Tensor) -> Tensor:
        """Adds the map of x, without the bias, to y in place."""
        if y.dtype == self.weight.dtype:
            return y.baddbmm_(self.weight, x)
        return y.add_(torch.bmm(self.weight, x.to(self.weight.dtype)))


class Numbers(NamedTuple):
    """Number formats: of matrix products, and of all else."""

    product: torch.dtype
    kept: torch.dtype

    def linear(self, weights: Iterable[Tensor], biases: Iterable[Tensor] | None = None) -> LinearMaps:
        """The maps of networks whose weights are (C_out, C) and biases (C_out)."""
        bias = None if biases is None else torch.stack(list(biases))[..., None].to(self.product)
        return LinearMaps(torch.stack(list(weights)).to(self.product).contiguous(), bias)

    def stack(self, tensors: Iterable[Tensor]) -> Tensor:
        """What else networks have, side by side."""
        return torch.stack(list(tensors)).to(self.kept).contiguous()


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
