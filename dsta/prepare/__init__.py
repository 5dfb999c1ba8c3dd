"""A folder of videos → a prepared folder: the joints of every labelled clip, and an index."""

from dsta.prepare.build import build_dataset, measure

__all__ = ["build_dataset", "measure"]
