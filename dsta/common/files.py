"""Files: written whole or not at all (beside their place, then renamed), hashed, found where they come along."""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_PACKAGE = Path(__file__).resolve().parents[1]
WEIGHTS = next((path for path in (_PACKAGE / "weights", _PACKAGE.parent / "weights") if path.is_dir()), _PACKAGE)
"""The weights that come along: inside the package where it is installed, beside it in a checkout."""


def replace_file(path: Path, content: bytes) -> None:
    """Writes beside, then renames, so that a failure leaves the old file."""
    replace_files({path: content})


def replace_files(contents: Mapping[Path, bytes]) -> None:
    """Writes all files beside their places, then renames them: what fails in writing leaves the old ones."""
    beside = {path: path.with_name(f"{path.name}.{os.getpid()}.part") for path in contents}
    try:
        for path, content in contents.items():
            beside[path].write_bytes(content)
        for path in contents:
            beside[path].replace(path)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """An uncompressed archive of arrays; its folder is made."""
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type] # numpy's stub takes the arrays for its own option
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content.getvalue())


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's content, as `sha256sum` prints it."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
