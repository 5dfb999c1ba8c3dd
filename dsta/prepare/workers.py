"""One function over many items, on all cores or on the machines of a Dask cluster, through joblib.

A worker process keeps to one core: as many videos at once take less time than one by several threads.
"""

import os
import random
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import TimeoutError as NoAnswer
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from dsta.common import UserError
from dsta.common.machine import peak_mb

CLUSTER_PATIENCE = 600.0
"""Seconds without a result after which a cluster counts as lost; the longest video takes two minutes."""

_CONNECT_SECONDS = 10.0  # in which a scheduler answers
_SCHEDULER = "PYTHONPATH=. dask scheduler"
_WORKER = "PYTHONPATH=. dask worker --nthreads 1 --nworkers -1"
_DISTRIBUTED = "distributed>=2025.1,<2027"

Work = Callable[[Any], Any]
"""What is done with one item. Other processes must be able to import it."""


@dataclass(frozen=True)
class WorkResult:
    """What came of `items[index]`: a result, or `problem`, a sentence; `bug` is the traceback of a problem that is
    none of the user's. worker: which process did it; peak_mb: the most memory that it has used so far, in MB.
    """

    index: int
    result: Any
    problem: str
    bug: str
    worker: str
    peak_mb: float


class WorkerLost(UserError):
    """A worker died. in_work: the indices of the items that were being worked on."""

    def __init__(self, sentence: str, in_work: Sequence[int]) -> None:
        super().__init__(sentence)
        self.in_work = tuple(in_work)


def run_on_workers(
    work: Work, items: Sequence[Any], processes: int, scheduler: str = ""
) -> Generator[WorkResult, None, None]:
    """What `work` makes of each item, in the order in which they are done.

    With so many processes here, or in this process if it is one; or, with a scheduler's address, by the Dask cluster
    there, whose workers must have this project's code. An exception of `work` is that item's problem, and the others go
    on. Raises WorkerLost when a worker dies, and UserError when the cluster cannot be used.
    """
    if scheduler:
        with _connected(scheduler) as client:
            _check_code(client, scheduler, work)
            run = partial(_run_on_one_core, work, 0)
            yield from _run_all(run, items, {"backend": "dask", "client": client}, "2*n_jobs", CLUSTER_PATIENCE)
    elif processes == 1 or len(items) < 2:
        for index, item in enumerate(items):
            yield _run(work, index, item)
    else:
        run = partial(_run_on_one_core, work, os.getpid())
        config = {"backend": "loky", "n_jobs": min(processes, len(items)), "inner_max_num_threads": 1}
        try:
            yield from _run_all(run, items, config, "n_jobs", None)
        finally:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _run_all(
    run: Callable[[int, Any], WorkResult],
    items: Sequence[Any],
    config: dict[str, Any],
    handed_out: str,
    patience: float | None,
) -> Iterator[WorkResult]:
    """`run(index, item)` by the workers of joblib's configuration. handed_out: how many items at a time, in joblib's
    words; patience: seconds to wait for a next result."""
    in_work: set[int] = set()

    def calls() -> Iterator[Any]:
        for index, item in enumerate(items):
            in_work.add(index)
            yield delayed(run)(index, item)

    try:
        how = {"return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": handed_out, "timeout": patience}
        with parallel_config(**config):
            results = Parallel(**how)(calls())
        with closing(results):
            for done in results:
                in_work.discard(done.index)
                yield done
    except BrokenProcessPool as error:
        raise WorkerLost("A worker process died, probably for want of memory.", sorted(in_work)) from error
    except NoAnswer as error:  # joblib's Dask backend waits on for a clip that the scheduler gave up
        minutes = f"{CLUSTER_PATIENCE / 60:.0f} minutes"
        sentence = f"No clip has come back for {minutes}: the cluster's workers are gone, or died."
        raise WorkerLost(sentence, sorted(in_work)) from error


def _run_on_one_core(work: Work, parent: int, index: int, item: Any) -> WorkResult:
    """parent: the process with which this one ends; 0 for a worker of a cluster, which has its own life."""
    if parent:
        _end_with_parent(parent)
    with _kept_to_one_core():
        return _run(work, index, item)


def _run(work: Work, index: int, item: Any) -> WorkResult:
    result, problem, bug = None, "", ""
    try:
        result = work(item)
    except UserError as error:
        problem = str(error)
    except Exception as error:  # whatever one file of thousands does to a library: the others go on, and it is told
        problem, bug = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", traceback.format_exc()
    return WorkResult(index, result, problem, bug, f"{socket.gethostname()}:{os.getpid()}", peak_mb())


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A client of the cluster's scheduler. Raises UserError where there is none, or it has no workers."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(f"--scheduler needs Dask: pip install '{_DISTRIBUTED}'.") from error
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"No Dask scheduler answers at {address}: start one with {_SCHEDULER}.") from error
    with client:
        if not client.ncores():
            raise UserError(f"The scheduler at {address} has no workers: start some with {_WORKER} {address}.")
        yield client


def _check_code(client: Any, address: str, work: Work) -> None:
    """Raises UserError when the scheduler, which unpacks the calls too, or a worker lacks the code: joblib would wait
    for ever for what could not be unpacked."""
    try:
        client.run_on_scheduler(callable, work)  # to be called, it must be unpacked there
        client.run(callable, work)
    except Exception as error:  # Dask passes an exception from there on as a plain Exception
        raise UserError(
            f"The Dask scheduler at {address} or its workers cannot run this project ({error}): start both in its "
            f"folder, where its requirements are installed, with {_SCHEDULER} and {_WORKER} {address}."
        ) from error


@cache
def _end_with_parent(parent: int) -> None:
    """Ends this process soon after its parent, which may be killed; left alone, it would wait minutes for more work."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _kept_to_one_core() -> Iterator[None]:
    """Keeps this thread, and those that it starts, to one core that no other worker on this machine has.

    A core is taken by a socket whose name only one can have; the system gives it back when the process ends.
    """
    if sys.platform != "linux":
        yield
        return
    allowed = os.sched_getaffinity(0)
    with socket.socket(socket.AF_UNIX) as claim:
        order = random.sample(sorted(allowed), len(allowed))  # containers of one machine do not see each other's claims
        for core in order:
            with suppress(OSError):  # it is taken
                claim.bind(f"\0dsta-core-{core}")
                os.sched_setaffinity(0, {core})
                break
        try:
            yield
        finally:
            os.sched_setaffinity(0, allowed)
