"""Writes down which clips a network has seen, in a weights folder that does not say: from its provenance and the data.

    python -m dsta.train.record runs/mine/joint --data data/mine

`--data` must hold every set that the network, and those from which it began, were trained on.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dsta.checkpoint import Checkpoint, Seen
from dsta.common import UserError, exit_code
from dsta.train.splits import Request, read_training_clips


def seen_of(provenance: Mapping[str, Any], folders: Mapping[str, Path]) -> Seen | None:
    """What the network of a provenance has seen. folders: by the sets' names. None where it names no sets.

    Raises UserError when a set is missing, or holds another number of training clips than the network was trained on.
    """
    names = provenance.get("datasets")
    if not names:
        return None
    missing = sorted(set(names) - set(folders))
    if missing:
        raise UserError(f"The network was trained on {missing[0]}: name its folder with --data.")
    chosen = "best top-1" in provenance.get("selection", "")
    clips = read_training_clips(
        Request(
            tuple(folders[name] for name in names),
            "val" if chosen else "last",
            without_folds=tuple(provenance.get("without_folds", ())),
            val_folds=tuple(provenance.get("val_folds", ())) if chosen else (),
            without_glosses=tuple(provenance.get("without_glosses", ())),
            seed=provenance.get("training", {}).get("seed", 0),
        )
    )
    if len(clips.train) != provenance.get("clips"):
        raise UserError(
            f"The network was trained on {provenance.get('clips')} clips, but {len(clips.train)} are there to train "
            f"on in {', '.join(names)}: it was trained on other clips."
        )
    if "init" not in provenance:
        return clips.seen
    begun = provenance["init"]
    return clips.seen.after(seen_of(begun, folders) if isinstance(begun, dict) else None)


def record_seen(folder: Path, data: Sequence[Path]) -> Seen:
    """Writes what the network in a folder has seen beside it, and returns it. Raises UserError."""
    checkpoint = Checkpoint.load(folder)
    seen = seen_of(checkpoint.provenance, {path.resolve().name: path for path in data})
    if seen is None:
        raise UserError(f"{folder} does not say which sets it was trained on.")
    replace(checkpoint, seen=seen).save(folder)
    return seen


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dsta.train.record", description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders of one network each")
    parser.add_argument("--data", nargs="+", required=True, type=Path, metavar="DIR", help="all sets it was trained on")
    args = parser.parse_args(arguments)

    def work() -> None:
        for folder in args.folders:
            seen = record_seen(folder, args.data)
            print(f"{folder}: trained on {len(seen.trained)} clips, its epoch chosen by {len(seen.chose)}")

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
