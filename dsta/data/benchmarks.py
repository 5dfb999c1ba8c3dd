"""The registry of data sets: names, class counts, official sizes and splits, published fusion weights."""

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from dsta.common import UserError

FACTS = Path(__file__).parent / "facts"
_SUFFIXES = ("mp4", "avi", "mkv", "webm", "npy", "npz", "pose", "json", "pkl")
Protocol = Literal["test", "test-clean", "val", "val+test", "folds"]
FusionWeights = tuple[float, float, float, float]
"""Of joint, bone, joint motion and bone motion."""


@dataclass(frozen=True)
class DatasetSpec:
    """A data set.

    fusion: upstream's weights of joint, bone, joint motion and bone motion, grid-searched by its authors on the labels
        of the split that they report; None where none are published.
    sizes: clips of the official train, val and test split; None where there is no such split or it is not known.
    released: what the held-out file holds, as upstream's released arrays do (their "val" of WLASL and MS-ASL is
        validation and test joined); `folds` for our small sets, where every clip is tested once.
    facts: the official list of clips (`dsta/data/facts/`), where there is one.
    """

    name: str
    num_classes: int
    language: str
    fusion: FusionWeights | None = None
    sizes: tuple[int | None, int | None, int | None] = (None, None, None)
    released: Protocol = "val+test"
    facts: str = ""

    def size(self, protocol: str) -> int | None:
        """Clips that the protocol scores, by the official lists; None where that is not known."""
        _, val, test = self.sizes
        if protocol == "val+test":
            return val + test if val is not None and test is not None else None
        return {"val": val, "test": test, "folds": test}.get(protocol)


def _american(family: str, k: int, sizes: tuple[int, int, int], *fusion: *FusionWeights) -> DatasetSpec:
    return DatasetSpec(f"{family}{k}", k, "American", fusion, sizes, facts=family.lower())


BENCHMARKS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        _american("WLASL", 100, (1442, 338, 258), 1.7, 1.2, 0.2, 0.3),
        _american("WLASL", 300, (3549, 900, 668), 1.5, 0.7, 0.4, 0.4),
        _american("WLASL", 1000, (8974, 2318, 1876), 1.5, 0.6, 0.5, 0.1),
        _american("WLASL", 2000, (14289, 3916, 2878), 1.7, 0.8, 0.5, 0.5),
        _american("MSASL", 100, (3789, 1190, 757), 1.9, 1.4, 0.3, 0.4),
        _american("MSASL", 200, (6319, 2041, 1359), 1.7, 0.5, 0.4, 0.6),
        _american("MSASL", 500, (11401, 3702, 2720), 1.6, 1.2, 0.6, 0.9),
        _american("MSASL", 1000, (16054, 5287, 4172), 1.5, 0.6, 0.3, 0.8),
        # 35 000 clips of signers 37-50 by upstream's readme; another list of this set tests signers 36-50 (37 500)
        DatasetSpec("SLR500", 500, "Chinese", (1.3, 1.3, 0.8, 1.0), (None, None, 35000), "test"),
        DatasetSpec("NMFs-CSL", 1067, "Chinese", None, (25608, None, 6402), "test"),
    )
}

SMALL_SETS: dict[str, DatasetSpec] = {
    name: DatasetSpec(name, classes, language, None, (None, None, clips), "folds")
    for name, classes, language, clips in (
        ("asl_everyday", 28, "American", 5819),
        ("libras11", 11, "Brazilian", 1430),
        ("bisindo20", 20, "Indonesian", 2081),
    )
}
"""Skeleton sets that are scored by cross-validation."""


def benchmark(name: str) -> DatasetSpec:
    """The benchmark of that name; upstream's spelling `MLASL…` of MS-ASL is understood too. Raises UserError."""
    spec = BENCHMARKS.get(name.replace("MLASL", "MSASL"))
    if spec is None:
        raise UserError(f"No benchmark is called {name}: the known ones are {', '.join(BENCHMARKS)}.")
    return spec


def dataset(name: str) -> DatasetSpec:
    """The benchmark or small set of that name. Raises UserError."""
    if name in SMALL_SETS:
        return SMALL_SETS[name]
    try:
        return benchmark(name)
    except UserError as error:
        raise UserError(f"{str(error)[:-1]}; the small sets are {', '.join(SMALL_SETS)}.") from error


def spellings(name: str) -> tuple[str, ...]:
    """How folders of the data set may be called, ours first."""
    return (name, name.replace("MSASL", "MLASL")) if name.startswith("MSASL") else (name,)


class Official(NamedTuple):
    """What the official list says of a clip: class index, gloss, and `train`, `val` or `test`."""

    label: int
    gloss: str
    split: str


@cache
def official(name: str) -> dict[str, Official]:
    """The official list of a benchmark: `clip_key` -> Official; empty where there is none.

    WLASL's keys are video ids, MS-ASL's are `YouTube id_start frame_end frame`. The first K classes of the largest
    list are those of WLASL100 … and MSASL100 …; `eval/facts.py` checked that.
    """
    spec = BENCHMARKS.get(name.replace("MLASL", "MSASL"))
    if spec is None or not spec.facts:
        return {}
    with gzip.open(FACTS / f"{spec.facts}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = ((row["clip"], int(row["label"]), row["gloss"], row["split"]) for row in csv.DictReader(file))
        return {clip: Official(label, gloss, split) for clip, label, gloss, split in rows if label < spec.num_classes}


def clip_key(name: str) -> str:
    """The name by which the official list knows a clip: without folders and suffix, `69241.mp4` is `69241`."""
    base = PurePosixPath(name.replace("\\", "/")).name
    stem, dot, suffix = base.rpartition(".")
    return stem if dot and suffix.lower() in _SUFFIXES else base


def find_spec(folder: Path) -> DatasetSpec | None:
    """The benchmark that a folder is by its name."""
    return BENCHMARKS.get(folder.resolve().name.replace("MLASL", "MSASL"))


MANY_KNOWN = 0.5  # share of clip names that must be in the official list for it to be taken as this data's list


def known_share(names: Sequence[str], spec: DatasetSpec) -> float:
    """Share of the clip names that the official list knows."""
    known = official(spec.name)
    return sum(clip_key(name) in known for name in names) / len(names)
