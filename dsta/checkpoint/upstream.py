"""Upstream's checkpoints: files read as the data that they are, then names and shapes translated into ours.

What upstream has saved (`main.py`): a state dict alone; or {"weights": state dict, "optimizer": …, "lr": numpy scalar},
in either of torch's two formats, the names with DataParallel's `module.` or without. What others have made of it is
understood too: the state dict under another name, and `model.`, `_orig_mod.` (torch.compile) before every name.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from dsta.common import UserError
from dsta.common.unpickle import STAND_INS, refuse_programs
from dsta.model import DSTA, ModelConfig

_WRAPPINGS = ("weights", "state_dict", "model_state_dict", "model", "network", "net")
_MOST = 2 * 2**30  # bytes that a file may hold; upstream's largest, with its optimiser's state, has 0.07 GB


def read_upstream(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state dict for `from_upstream`, numbers and words saved beside it) of an upstream file.

    Read are torch's zip and legacy formats, `.npz` and `.safetensors`, on the CPU wherever they were saved. A pickle
    can hold a program: none is run, and a file that asks for anything but tensors, containers and numpy numbers is
    refused. Raises UserError for that, and for a file that is missing, empty, damaged, or no checkpoint.
    """
    path = Path(path)
    head = _head(path)
    try:
        content, size = _content(path, head)
    except UserError:
        raise
    except Exception as error:  # a hostile or broken file may raise anything, and each means the same
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read as weights ({reason}): it is damaged; copy it again.") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} is not a DSTA-SLR checkpoint: it holds no tensors by name.")
    state = _state_in(content)
    wrapped = state is not content
    beside = {str(name): value for name, value in content.items() if type(value) in (int, float, str)}
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > size:
        raise UserError(f"{path} claims more numbers than it holds: it is no checkpoint; copy it again.")
    broken = sorted(name for name, tensor in tensors.items() if not torch.isfinite(tensor).all())
    if broken:
        raise UserError(
            f"{path} holds NaN or infinity in {len(broken)} tensors, {broken[0]} among them: its training diverged or "
            "the file is damaged; take another."
        )
    return dict(state), beside if wrapped else {}


def _head(path: Path) -> bytes:
    """The first bytes of a file that may be a checkpoint."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(1024)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: give the file of a checkpoint.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give the file of a checkpoint.") from error
    if not head:
        raise UserError(f"{path} is empty: download it again.")
    if size > _MOST:
        raise UserError(f"{path} is too large for a DSTA-SLR checkpoint ({size / 2**30:.1f} GB).")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise UserError(
            f"{path} is a web page, not weights: the download failed (Google Drive asks back before large files); "
            "download it in a browser."
        )
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} only points to the weights (Git LFS): fetch them with git lfs pull.")
    return head


def _content(path: Path, head: bytes) -> tuple[Any, int]:
    """What the file holds, and the bytes in it that numbers can be in."""
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _MOST:
                raise UserError(f"{path} claims to hold {size / 2**30:.0f} GB: that is no DSTA-SLR checkpoint.")
            damaged = archive.testzip()  # torch itself does not look at the check sums
            if damaged:
                raise UserError(f"{path} is damaged ({damaged} differs from its check sum): copy it again.")
            pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
            for name in pickles:
                with archive.open(name) as file:
                    refuse_programs(path, file)
        if not pickles:
            with np.load(path, allow_pickle=False) as arrays:
                read = {name: arrays[name] for name in arrays.files}
            return {name: str(a) if a.dtype.kind in "SU" else torch.from_numpy(a) for name, a in read.items()}, size
    elif head[8:9] == b"{":
        return load_file(path), path.stat().st_size
    else:
        size = path.stat().st_size
        with path.open("rb") as file:
            for _ in range(5):  # the legacy format: magic number, version, machine, objects, keys of the storages
                refuse_programs(path, file)
    with torch.serialization.safe_globals(STAND_INS):
        return torch.load(path, map_location="cpu", weights_only=True), size


# Upstream's names (`model/fstgan.py`), piece by piece, and ours.
_RENAMES: list[tuple[str, Any]] = [
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
    """The network of an upstream state dict, or of a checkpoint dict {"weights": …}; tensors or numpy arrays.

    Returns a DSTA in float32 and evaluation mode; `.double()` works.
    Raises UserError that names every missing, unexpected or misshapen tensor.
    """
    state = _without_prefix({str(name): value for name, value in _state_in(state).items()})
    odd = sorted(name for name, value in state.items() if not _is_numbers(value))
    if odd:
        raise UserError(f"This is not a DSTA-SLR checkpoint: it holds entries that are no tensors, {', '.join(odd)}.")
    # The adjacency is left out: the reference uses it in DropBlock only, and it is known.
    taken = [name for name in state if not re.fullmatch(r"layers\.\d\.A", name)]
    renamed = {_renamed(name): (name, _converted(name, state[name])) for name in taken}
    if "classifier.weight" in state:
        raise UserError("These weights have this project's own names: use their folder as it is, without an import.")
    _, classifier = renamed.get("classifier.weight", ("", torch.empty(0)))
    if classifier.ndim != 2:
        raise UserError("This is not a DSTA-SLR checkpoint: it has no classifier (fc.weight).")
    model = DSTA(ModelConfig(num_classes=len(classifier)))
    expected = model.state_dict()
    common = {name: (*renamed[name], expected[name]) for name in expected if name in renamed}
    odd_shapes = [f"{name} {tuple(t.shape)}" for name, t, own in common.values() if _squeezed(t) != _squeezed(own)]
    problems = {
        "missing": set(expected) - set(common),
        "unexpected": [renamed[name][0] for name in set(renamed) - set(common)],
        "of another shape": odd_shapes,
    }
    told = [f"{what} {', '.join(sorted(names))}" for what, names in problems.items() if names]
    if told:
        raise UserError(f"This is not a DSTA-SLR checkpoint: {'; '.join(told)}.")
    own = {name: tensor.reshape(mine.shape) for name, (_, tensor, mine) in common.items()}
    model.load_state_dict(own, strict=True)
    return model.eval()


def _state_in(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict in a checkpoint, which may be the whole, or lie two levels down."""
    for _ in range(2):
        content = next((content[name] for name in _WRAPPINGS if isinstance(content.get(name), Mapping)), content)
    return content


def _without_prefix(state: dict[str, Any]) -> dict[str, Any]:
    """The state dict with what stands before every name of the network, such as `module.`, taken off.

    Raises UserError where it holds several networks.
    """
    prefixes = [name.removesuffix("fc.weight") for name in state if re.fullmatch(r"(.*\.)?fc\.weight", name)]
    prefixes = [prefix for prefix in prefixes if f"{prefix}data_bn.weight" in state]
    if len(prefixes) > 1:
        names = " and ".join(f"{prefix}fc.weight" for prefix in prefixes)
        raise UserError(f"This file holds several networks ({names}): save the state dict of one alone.")
    return {name.removeprefix(prefixes[0] if prefixes else ""): value for name, value in state.items()}


def _is_numbers(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf")


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _converted(name: str, value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    if name.endswith("Linear_weight") and tensor.ndim == 2:
        return tensor.t()
    if name.endswith("attention0s") and tensor.ndim == 5:  # (1, heads, channels of a head, 27, 27)
        return tensor.flatten(0, 2)
    return tensor


def _squeezed(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]
