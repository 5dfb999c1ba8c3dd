"""Weights on disk: save, load, and import from upstream.

A weights folder of one stream holds `config.json` and `model.safetensors`; an ensemble folder holds one such folder per
stream and `ensemble.json`. Nothing here unpickles more than tensors.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsta.errors import UserError
from dsta.model import DSTA, ModelConfig

# Upstream's names (`model/fstgan.py`), piece by piece, and ours.
_RENAMES = [
    (r"^data_bn\.", "input_norm."),
    (r"^fc\.", "classifier."),
    (r"^layers\.", "blocks."),
    (r"\.san\.Linear_", ".spatial.project."),
    (r"\.san\.bn0\.", ".spatial.project_norm."),
    (r"\.san\.norm1\.", ".spatial.graph_norm."),
    (r"\.san\.norm2\.", ".spatial.mlp_norm."),
    (r"\.san\.in_nets\.", ".spatial.query_key."),
    (r"\.san\.alphas$", ".spatial.alpha"),
    (r"\.san\.mlp\.fc1\.", ".spatial.mlp_in."),
    (r"\.san\.mlp\.fc2\.", ".spatial.mlp_out."),
    (r"\.san\.Edge_conv\.norm1\.", ".spatial.edge.norm."),
    (r"\.san\.Edge_conv\.alphas$", ".spatial.edge.alpha"),
    (r"\.san\.Edge_conv\.edge_features$", ".spatial.edge.features"),
    (r"\.san\.Edge_conv\.transform\.", ".spatial.edge.transform."),
    (r"\.san\.attention0s$", ".spatial.mixing"),
    (r"\.san\.bn\.", ".spatial.norm."),
    (r"\.san\.", ".spatial."),
    (r"\.conv_sa\.", ".gates.joints."),
    (r"\.conv_ta\.", ".gates.frames."),
    (r"\.fc1c\.", ".gates.channels_in."),
    (r"\.fc2c\.", ".gates.channels_out."),
    (r"\.tcn\.", ".temporal.0."),
    (r"\.tcn([23])\.", lambda match: f".temporal.{int(match[1]) - 1}."),
    (r"(\.branches\.\d)\.bn\.", r"\1.norm."),
    (r"\.residual\.pool\.net\.0\.", ".residual.expand."),
    (r"\.residual\.pool\.net\.1\.", ".residual.project."),
    (r"\.residual\.bn\.", ".residual.norm."),
]


def from_upstream(state: Mapping[str, Any]) -> DSTA:
    """The network of an upstream state dict, or of its checkpoint dict {"weights": …}; tensors or numpy arrays.

    Returns a DSTA in float32 and evaluation mode; `.double()` works.
    Raises UserError that names every missing, unexpected or misshapen tensor.
    """
    if isinstance(state.get("weights"), Mapping):
        state = state["weights"]
    tensors = {name.removeprefix("module."): torch.as_tensor(np.asarray(value)) for name, value in state.items()}
    renamed = {_renamed(name): (name, tensor) for name, tensor in tensors.items() if not re.fullmatch(r"layers\.\d\.A", name)}
    if "classifier.weight" not in renamed or renamed["classifier.weight"][1].ndim != 2:
        raise UserError("This is not a DSTA-SLR checkpoint: it has no classifier (fc.weight).")
    model = DSTA(ModelConfig(num_classes=len(renamed["classifier.weight"][1])))
    expected = model.state_dict()
    missing = sorted(set(expected) - set(renamed))
    unexpected = sorted(renamed[name][0] for name in set(renamed) - set(expected))
    own = {}
    misshapen = []
    for name in set(expected) & set(renamed):
        source, tensor = renamed[name]
        if source.endswith("Linear_weight"):
            tensor = tensor.t()
        if tensor.numel() != expected[name].numel() or _squeezed(tensor) != _squeezed(expected[name]):
            if not source.endswith("attention0s") or tensor.numel() != expected[name].numel():
                misshapen.append(f"{source} {tuple(tensor.shape)}")
                continue
        own[name] = tensor.reshape(expected[name].shape).to(expected[name].dtype)
    problems = [
        f"{what} {', '.join(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", sorted(misshapen)))
        if names
    ]
    if problems:
        raise UserError(f"This is not a DSTA-SLR checkpoint: {'; '.join(problems)}.")
    model.load_state_dict(own, strict=True)
    return model.eval()


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _squeezed(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]
