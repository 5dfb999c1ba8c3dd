"""What a data set is, in words and numbers: the registry's facts and, of `datasets.csv`, those that it lacks."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dsta.common import UserError, read_csv
from dsta.data import BENCHMARKS, DatasetSpec, dataset

FACTS = Path(__file__).with_name("datasets.csv")
COLUMNS = ("dataset", "signers", "split", "licence", "url", "get", "command")


@dataclass(frozen=True)
class DatasetFacts:
    """Texts, empty where something is not known. get, command: how to have its data here."""

    name: str
    language: str = ""
    glosses: str = ""
    clips: str = ""
    signers: str = ""
    split: str = ""
    licence: str = ""
    url: str = ""
    get: str = ""
    command: str = ""


@cache
def _lines() -> dict[str, dict[str, str]]:
    return {row.cells["dataset"]: row.cells for row in read_csv(FACTS, COLUMNS)}


def facts(name: str) -> DatasetFacts:
    """What is known of a data set; of one that neither the registry nor the file has, its name alone."""
    line = {column: text for column, text in _lines().get(name, {}).items() if column != "dataset"}
    try:
        spec = dataset(name)
    except UserError:
        return DatasetFacts(name, **line)
    return DatasetFacts(name, spec.language, str(spec.num_classes), _clips(spec), **line)


def _clips(spec: DatasetSpec) -> str:
    if spec.name not in BENCHMARKS:
        return f"{spec.sizes[2]}"
    sizes = zip(spec.sizes, ("training", "validation", "test"), strict=True)
    return " + ".join(f"{size} {split}" for size, split in sizes if size is not None)


def comparable(name: str, protocol: str, n: float) -> bool:
    """Whether a figure is of the very clips that the protocol's official size counts."""
    try:
        return dataset(name).size(protocol) == n
    except UserError:
        return False
