"""The network folded for inference: what `dsta.model.DSTA` computes in evaluation mode, with fewer operations."""

from dsta.folded.kept import folded
from dsta.folded.network import FoldedNetworks

__all__ = ["FoldedNetworks", "folded"]
