"""A few example clips of own signs → a weights folder that recognises them."""

from dsta.teach.signs import MOST_CLIPS, SIGNS_SUFFIX, OwnSigns
from dsta.teach.taught import Embedder, save_taught, taught_ensemble

__all__ = ["MOST_CLIPS", "SIGNS_SUFFIX", "Embedder", "OwnSigns", "save_taught", "taught_ensemble"]
