"""Where weights are from: the code's commit, what a network began from, which folds it may have seen."""

import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

from dsta.checkpoint.folder import CONFIG_FILE
from dsta.common import read_json


def origin(folder: Path) -> dict[str, Any]:
    """What is told of a stream's folder in the provenance of a network that begins from it: hash and provenance."""
    config = read_json(folder / CONFIG_FILE)
    return {"weights_sha256": config["weights_sha256"], **config.get("provenance", {})}


def git_commit() -> str:
    """The commit of this code, with `+` when files differ from it; empty outside a repository."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed, perhaps inside somebody else's repository
        return ""
    run = [
        subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=False).stdout.strip()
        for args in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    return run[0] + ("+" if run[0] and run[1] else "")


def saw_folds(network: Path, provenance: Any, datasets: Collection[str], folds: Collection[int]) -> str:
    """Why a network may not be scored on these folds of these sets, as a sentence; empty when it may.

    It may when its own provenance, and that of each network from which it began, says that the folds were neither
    trained on nor the judges by which its epoch was chosen, or that it was of other sets. network: what the sentence
    calls it.
    """
    who, made_by = f"{network}", provenance
    while folds and made_by is not None:
        sets = made_by.get("datasets") if isinstance(made_by, dict) else None
        if not sets:  # a hash alone, which older networks have for what they began from
            return f"{who} does not say what it was trained on."
        if set(sets) & set(datasets):
            without = made_by.get("without_folds", ())
            # earlier, folds that chose the epoch were written down as left out, and the selection alone told of them
            old = without if "on folds" in made_by.get("selection", "") else ()
            trained, chosen = set(folds) - set(without), set(folds) & set(made_by.get("val_folds", old))
            if trained:
                return f"{who} has seen fold {min(trained)}: its configuration does not exclude it."
            if chosen:
                return f"{who} has seen fold {min(chosen)}: its epoch was chosen on it."
        who, made_by = f"The network from which {network} began", made_by.get("init")
    return ""
