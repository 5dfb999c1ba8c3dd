"""The average skeletons of a weights folder's signs, over the signers of its training clips.

    python eval/averages.py weights/asl118 --data data/WLASL100 data/asl_everyday

Of a prepared set its split `train` is taken, of a skeleton set all. An average that the folder's own networks do not
take for its gloss is left out: its signers make the sign in several ways, or its labels are mixed up. The folder's
manifest is written anew.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from tqdm import tqdm

from dsta.checkpoint import Ensemble, SignAverages, write_manifest
from dsta.common import UserError, exit_code
from dsta.data import read_clip_set
from dsta.reference import FRAMES, average
from dsta.score import score_streams
from dsta.skeleton import NUM_JOINTS
from dsta.streams import fuse


def averages(glosses: Sequence[str], folders: Sequence[Path]) -> SignAverages:
    """Of each gloss the average over the signers of its clips in these sets. Raises UserError where no set has any."""
    sets = [read_clip_set(folder, "train") for folder in folders]
    joints = np.zeros((len(glosses), FRAMES, NUM_JOINTS, 3), np.float32)
    signers = np.zeros(len(glosses), int)
    for place, gloss in enumerate(tqdm(glosses, unit="gloss")):
        clips, owners = [], []
        for held in sets:
            own = held.labels == held.glosses.index(gloss) if gloss in held.glosses else np.zeros(len(held), bool)
            rows = np.flatnonzero(own).tolist()
            clips += [np.asarray(held.joints[row]) for row in rows]
            owners += [f"{held.folder.name} {held.sources[row] if held.sources else row}" for row in rows]
        found = average(clips, owners)
        if found:
            joints[place], signers[place] = found
    if not signers.any():
        raise UserError(
            f"{' and '.join(map(str, folders))} hold no clip of the {len(glosses)} glosses: give other --data."
        )
    return SignAverages(joints, signers)


def told_apart(found: SignAverages, ensemble: Ensemble) -> np.ndarray:
    """(G,) bool: the averages that the ensemble takes for their own gloss."""
    scores = {stream: said.logits for stream, said in score_streams(ensemble, list(found.joints)).items()}
    return (fuse(scores, ensemble.fusion).argmax(1) == np.arange(len(found.signers))) & (found.signers > 0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python eval/averages.py", description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, metavar="DIR", help="a weights folder; the averages are written into it")
    parser.add_argument("--data", nargs="+", required=True, type=Path, metavar="DIR", help="what taught it")
    args = parser.parse_args(arguments)

    def work() -> None:
        ensemble = Ensemble.load(args.weights)
        found = averages(ensemble.glosses, args.data)
        right = told_apart(found, ensemble)
        left_out = [gloss for gloss, fine in zip(ensemble.glosses, right, strict=True) if not fine]
        if not right.any():
            raise UserError(f"Averages were made, but none of them is taken for its gloss: is {args.weights} trained?")
        found = SignAverages(found.joints * right[:, None, None, None], found.signers * right)
        found.save(args.weights, ensemble.glosses)
        write_manifest(args.weights.parent)
        of = found.signers[found.signers > 0]
        print(
            f"{len(of)} of {len(right)} glosses, each the average of {of.min()} to {of.max()} signers, "
            f"{np.median(of):.0f} in the median; of fewer than five: {int((of < 5).sum())}; left out: "
            f"{', '.join(left_out) or 'none'}"
        )

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
