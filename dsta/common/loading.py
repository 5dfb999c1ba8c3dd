"""Worker processes of torch's DataLoader: how many, and how they behave."""

import signal
from typing import Any

import torch

from dsta.common.machine import with_room


def loading(workers: int, ahead: int, each: int, pin: bool = False) -> dict[str, Any]:
    """Keyword arguments of a DataLoader with so many worker processes, or fewer where shared memory is short.

    ahead: batches that a worker has ready. each: bytes of a batch. pin: for a GPU to fetch from.
    """
    room: dict[str, Any] = with_room(workers, ahead, each) if workers else {}
    if room:  # forked: the data are shared, and workers never touch the GPU
        room |= {"multiprocessing_context": "fork", "worker_init_fn": _begin_worker}
    # Its own generator: the loader takes a number from it, which must not shift the network's random numbers.
    return {"pin_memory": pin, "generator": torch.Generator(), **room}


def _begin_worker(worker: int) -> None:
    """Ctrl-C goes to all processes of a terminal; the first process decides what becomes of its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
