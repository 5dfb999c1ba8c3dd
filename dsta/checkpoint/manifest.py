"""What a folder of weights says of itself: its JSON files, and `manifest.json` with the sha256 of every file."""

import json
from pathlib import Path

from dsta.common import UserError, file_sha256, read_json, replace_file

MANIFEST_FILE = "manifest.json"


def write_manifest(root: str | Path) -> None:
    """Writes `manifest.json` in `root` (the folder `weights`): sha256 of every file below it."""
    root = Path(root)
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix not in (".pyc", ".part"))
    files = [path for path in files if path.name != MANIFEST_FILE]
    hashes = {path.relative_to(root).as_posix(): file_sha256(path) for path in files}
    replace_file(root / MANIFEST_FILE, (json.dumps(hashes, indent=1) + "\n").encode())


def check_manifest(folder: str | Path, root: Path | None = None) -> None:
    """Checks the JSON and weights files in a folder against the manifest in `root`, if there is one: by default beside
    the folder. Raises UserError that names a file that is missing or was changed."""
    folder = Path(folder) if root else Path(folder).resolve()
    manifest = (root or folder.parent) / MANIFEST_FILE
    if not manifest.exists():
        return
    for name, expected in read_json(manifest).items():
        path = manifest.parent / name
        if folder not in path.parents or path.suffix not in (".json", ".safetensors"):
            continue
        if not path.exists():
            raise UserError(f"{path} is missing, though {MANIFEST_FILE} lists it: restore it.")
        if file_sha256(path) != expected:
            raise UserError(f"{path} was changed (its sha256 is not the one in {MANIFEST_FILE}): restore it.")
