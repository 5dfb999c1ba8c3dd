"""What several test files share."""

import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """Tiny networks gain nothing from more, and lose much where others compute beside them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
