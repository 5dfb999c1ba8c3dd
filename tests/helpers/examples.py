"""A data set of which a network knows some glosses, and such a network."""

import numpy as np
from helpers.benchmarks import SMALL, network

from dsta.checkpoint import Checkpoint
from dsta.data.prepared import IndexRow
from dsta.prepare.write import write_prepared

KNOWN, NEW = ("ant", "bee"), ("cat", "dog", "elk")
SIGNERS = ("s0", "s1", "s2", "s3")


def five_glosses(folder):
    """Of each gloss two training clips of each of four signers; the first two also have one to validate and to test."""
    rng, rows, clips = np.random.default_rng(5), [], {}
    for g, gloss in enumerate(KNOWN + NEW):
        takes = [(s, split) for s in SIGNERS for split in ("train", "train")]
        takes += [(s, split) for s in SIGNERS[:2] for split in ("val", "test")]
        for signer, split in takes:
            name = f"{len(clips)}.mp4"
            clips[name] = (rng.uniform(100, 300, (1, 27, 3)) + rng.normal(0, 20, (9, 27, 3)) + 15 * g).astype(
                np.float32
            )
            about = (name, gloss, split, signer, "web", 0, 9, 25.0, 640, 480)
            rows.append(IndexRow(*about, "mediapipe-holistic", 1.0, 1.0, name))
    about = {"estimator": "mediapipe-holistic", "glosses": list(KNOWN + NEW)}
    write_prepared(folder, rows, lambda row: clips[row.clip], about, [])
    return folder


def trained_without(weights, stream, seen):
    network(weights / stream, KNOWN, stream, SMALL, "mediapipe-holistic")
    checkpoint = Checkpoint.load(weights / stream)
    Checkpoint(*(getattr(checkpoint, name) for name in list(checkpoint.__dataclass_fields__)[:-1]), seen).save(
        weights / stream
    )
