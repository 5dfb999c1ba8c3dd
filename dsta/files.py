"""Files that appear whole or not at all: written beside their place, then renamed."""

import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np


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
    np.savez(content, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content.getvalue())
