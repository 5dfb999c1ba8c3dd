"""Strangers' pickles, upstream's labels and checkpoints, read as the data that they are: no program in one is run."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import IO, Any

import numpy as np

from dsta.common.errors import UserError

_MOST_PICKLED = 256 * 2**20  # bytes of a label file; the largest benchmark's has two million


def read_labels(path: str | Path) -> tuple[tuple[str, ...], np.ndarray]:
    """(names, labels (N,)) of upstream's label pickle, a pair of lists.

    A pickle can hold a program; none of it is run: lists, strings, numbers and plain numpy arrays are understood, and
    anything else raises UserError.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_PICKLED:
            raise UserError(f"{path} is too large for a list of labels.")
        pickled = path.read_bytes()
        _refuse_claims(pickled)
        content = _plain(_Unpickler(io.BytesIO(pickled), encoding="latin1").load())
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing.") from error
    except UserError:
        raise
    except Exception as error:  # a hostile or broken pickle may raise anything, and each means the same
        raise UserError(f"{path} cannot be read as a list of labels ({error}): copy it again.") from error
    if not (isinstance(content, list) and len(content) == 2 and all(isinstance(part, list) for part in content)):
        raise UserError(f"{path} must hold two lists, names and labels.")
    names, labels = content
    if len(names) != len(labels) or not labels:
        raise UserError(f"{path} has {len(names)} names for {len(labels)} labels.")
    if not all(type(label) is int and 0 <= label < 2**31 for label in labels):
        raise UserError(f"The labels in {path} must be whole numbers from 0.")
    if not all(isinstance(name, str | int) for name in names):
        raise UserError(f"The names in {path} must be strings.")
    return tuple(map(str, names)), np.array(labels, np.int64)


def _refuse_claims(pickled: bytes) -> None:
    """Raises ValueError where a pickle numbers a note beyond its own bytes: the reader would make room for all before
    it, two gigabytes of seven bytes."""
    for operation, argument, _ in pickletools.genops(io.BytesIO(pickled)):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(pickled):
            raise ValueError("it numbers more parts than it has")


class NumpyType:
    """A numpy dtype in a pickle: its letter and byte order, no numpy object, whose state can be forged."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    def real(self) -> np.dtype:
        dtype = np.dtype(self.order + self.code)
        if dtype.kind not in "biufUS":
            raise ValueError(f"arrays of {self.code} are not understood")
        return dtype


class _Array:
    """A numpy array in a pickle, as the list that it stands for."""

    def __init__(self, *_: Any) -> None:
        self.values: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, data = state
        if len(shape) != 1:
            raise ValueError("arrays of labels have one axis")
        self.values = data if isinstance(data, list) else _numbers(data, dtype)


def _numbers(data: Any, dtype: NumpyType) -> list[Any]:
    return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype.real()).tolist()


class _Unpickler(pickle.Unpickler):
    """Knows no function but ours, which stand in for what numpy writes."""

    _known = {  # noqa: RUF012 - it is never changed
        ("numpy", "dtype"): NumpyType,
        ("numpy", "ndarray"): _Array,
        ("multiarray", "_reconstruct"): _Array,
        ("multiarray", "scalar"): lambda dtype, data: _numbers(data, dtype)[0],
        ("numeric", "_frombuffer"): lambda data, dtype, shape, order: _numbers(data, dtype),
        ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
    }

    def find_class(self, module: str, name: str) -> Any:
        package, _, last = module.rpartition(".")
        known = self._known.get((last if package in ("numpy.core", "numpy._core") else module, name))
        if known is None:
            raise ValueError(f"it asks for {module}.{name}, which no list of labels needs; nothing was run")
        return known


def _plain(value: Any) -> Any:
    """Tuples, and arrays' stand-ins, as lists; two levels deep, which is all that a list of labels has."""
    parts = value.values if isinstance(value, _Array) else value
    if not isinstance(parts, list | tuple):
        return value
    return [
        list(part) if isinstance(part, tuple) else part.values if isinstance(part, _Array) else part for part in parts
    ]


class _NumpyArray:
    """A numpy array in a pickle, of which nothing is needed: a random generator's state."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _numpy_scalar(dtype: NumpyType, data: bytes) -> float | int | bool | None:
    """The number that a numpy scalar stands for; None for what is no number."""
    if dtype.code[:1] not in ("b", "i", "u", "f"):
        return None
    return np.frombuffer(data, np.dtype(dtype.order + dtype.code))[0].item()


STAND_INS: list[Any] = [
    (NumpyType, "numpy.dtype"),
    (_NumpyArray, "numpy.ndarray"),
    *((_numpy_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_NumpyArray, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]
_STORAGES = "Double Float Half BFloat16 Long Int Short Char Byte Bool Untyped"
NEEDED_BY_CHECKPOINTS = {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.Size",
    "_codecs.encode",
    *(f"torch.{kind}Storage" for kind in _STORAGES.split()),
    *(name for _, name in STAND_INS),
}
"""All that a pickle of upstream's may ask for; torch alone would allow more."""


def refuse_programs(path: Path, file: IO[bytes]) -> None:
    """Looks at one pickle without running it. Raises UserError when it asks for more than tensors and numbers."""
    for operation, argument, _ in pickletools.genops(file):
        if operation.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            raise UserError(f"{path} holds a pickle that torch did not write; nothing was run. Give a file of torch's.")
        asked = str(argument).replace(" ", ".")
        if operation.name in ("GLOBAL", "INST") and asked not in NEEDED_BY_CHECKPOINTS:
            raise UserError(
                f"{path} asks to run {asked}, which no weights need; nothing was run. If you trust its maker, ask "
                "for a file of the state dict alone."
            )
