"""What all tests share: one thread a process, a process for each core, the markers, and the made-up benchmarks."""

import gc
import os
from collections import Counter

import pytest

# Before torch is imported, and for child processes too: tests run side by side on all cores, tiny networks gain nothing
# from more threads, and sums do not depend on how many there are.
for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[threads] = "1"


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers():
    """`-n auto`: a process for each core that this one may use, 8 at most; on one core this process alone."""
    from dsta.common.machine import cores

    return min(cores(), 8) if cores() > 1 else 0


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, else one process is left with such a file when the others are through."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish():
    """What has been imported stays: the garbage collector need not look through it again and again."""
    gc.freeze()


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no GPU here")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Made-up benchmarks with weights and runs, for the whole table; not to be changed."""
    from helpers.tables import made_world  # here, as it brings all of the evaluation

    return made_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def place(world, tmp_path):
    """A copy of it, to be damaged."""
    from helpers.tables import copied

    return copied(world, tmp_path)
