"""The registry of benchmarks: names, class counts, published fusion weights."""

from dataclasses import dataclass

from dsta.errors import UserError


@dataclass(frozen=True)
class DatasetSpec:
    """A benchmark.

    fusion: upstream's weights of joint, bone, joint motion and bone motion, grid-searched by its authors on the labels
    of the split that they report; None where none are published.
    """

    name: str
    num_classes: int
    language: str
    fusion: tuple[float, float, float, float] | None = None


BENCHMARKS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec("WLASL100", 100, "American", (1.7, 1.2, 0.2, 0.3)),
        DatasetSpec("WLASL300", 300, "American", (1.5, 0.7, 0.4, 0.4)),
        DatasetSpec("WLASL1000", 1000, "American", (1.5, 0.6, 0.5, 0.1)),
        DatasetSpec("WLASL2000", 2000, "American", (1.7, 0.8, 0.5, 0.5)),
        DatasetSpec("MSASL100", 100, "American", (1.9, 1.4, 0.3, 0.4)),
        DatasetSpec("MSASL200", 200, "American", (1.7, 0.5, 0.4, 0.6)),
        DatasetSpec("MSASL500", 500, "American", (1.6, 1.2, 0.6, 0.9)),
        DatasetSpec("MSASL1000", 1000, "American", (1.5, 0.6, 0.3, 0.8)),
        DatasetSpec("SLR500", 500, "Chinese", (1.3, 1.3, 0.8, 1.0)),
        DatasetSpec("NMFs-CSL", 1067, "Chinese"),
    )
}


def benchmark(name: str) -> DatasetSpec:
    """The benchmark of that name; upstream's spelling `MLASL…` of MS-ASL is understood too. Raises UserError."""
    spec = BENCHMARKS.get(name.replace("MLASL", "MSASL"))
    if spec is None:
        raise UserError(f"No benchmark is called {name}: the known ones are {', '.join(BENCHMARKS)}.")
    return spec
