"""DSTA-SLR: isolated sign recognition from series of 27 skeleton joints (arXiv 2403.12519)."""
