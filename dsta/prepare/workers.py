"""One function over many things, by all cores or by the machines of a Dask cluster, through joblib.

A worker keeps to one core. MediaPipe gains next to nothing from a second one, but starts threads for all the cores that
it sees, which then wait for one another.
"""

import os
import random
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import TimeoutError as NoAnswer
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from dsta.common import UserError
from dsta.common.machine import peak_mb

CLUSTER_PATIENCE = (
    600.0  # seconds without a result after which a cluster counts as lost; the longest video takes two minutes
)
_CONNECT = 10.0  # seconds in which a scheduler answers
_SCHEDULER = "PYTHONPATH=. dask scheduler"
_WORKER = "PYTHONPATH=. dask worker --nthreads 1 --nworkers -1"
_DISTRIBUTED = "distributed>=2025.1,<2027"


@dataclass(frozen=True)
class WorkResult:
    """What came of the thing at `place`: a result, or `problem`, a sentence; `bug` is the traceback of a problem that
    is none of the user's. worker: which process did it; peak_mb: the most memory that it has used so far, in MB.
    """

    place: int
    result: Any
    problem: str
    bug: str
    worker: str
    peak_mb: float


class WorkerLost(UserError):
    """A worker died. in_work: the places of the things that were being worked on."""

    def __init__(self, sentence: str, in_work: Sequence[int]) -> None:
        super().__init__(sentence)
        self.in_work = tuple(in_work)


def run_each(
    work: Callable[[Any], Any], things: Sequence[Any], workers: int, scheduler: str = ""
) -> Iterator[WorkResult]:
    """What `work` makes of each thing, in the order in which they are done.

    With `workers` processes here; or, with a scheduler's address, by the Dask cluster there, whose workers must have
    this project's code. An exception of `work` is that thing's problem, and the others go on. Raises Lost when a worker
    process dies, and UserError when the cluster cannot be used.
    """
    if scheduler:
        with _client(scheduler) as client:
            _check_code(client, scheduler, work)
            yield from _shared(work, things, {"backend": "dask", "client": client}, "2*n_jobs", CLUSTER_PATIENCE)
    elif workers == 1 or len(things) < 2:
        yield from (_one(work, place, thing) for place, thing in enumerate(things))
    else:
        config = {"backend": "loky", "n_jobs": min(workers, len(things)), "inner_max_num_threads": 1}
        try:
            yield from _shared(work, things, config, "n_jobs", None)
        finally:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _shared(
    work: Callable[[Any], Any], things: Sequence[Any], config: dict[str, Any], ahead: str, patience: float | None
) -> Iterator[WorkResult]:
    given: set[int] = set()
    parent = os.getpid() if config["backend"] == "loky" else 0  # a cluster's workers outlive us

    def calls() -> Iterator[Any]:
        for place, thing in enumerate(things):
            given.add(place)
            yield delayed(_alone)(work, place, thing, parent)

    try:
        with parallel_config(**config):
            parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=ahead, timeout=patience)
            results = parallel(calls())
        with closing(results):
            for done in results:
                given.discard(done.place)
                yield done
    except BrokenProcessPool as error:
        raise WorkerLost("A worker process died, probably for want of memory.", sorted(given)) from error
    except NoAnswer as error:  # joblib's Dask backend waits on for a clip that the scheduler gave up
        sentence = (
            f"No clip has come back for {CLUSTER_PATIENCE / 60:.0f} minutes: the cluster's workers are gone, or died."
        )
        raise WorkerLost(sentence, sorted(given)) from error


@contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(f"--scheduler needs Dask: pip install '{_DISTRIBUTED}'.") from error
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"No Dask scheduler answers at {address}: start one with {_SCHEDULER}.") from error
    with client:
        if not client.ncores():
            raise UserError(f"The scheduler at {address} has no workers: start some with {_WORKER} {address}.")
        yield client


def _check_code(client: Any, address: str, work: Callable[[Any], Any]) -> None:
    """Raises UserError when the scheduler, which unpacks the calls too, or a worker lacks the code: joblib would wait
    for ever for what could not be unpacked."""
    try:
        client.run_on_scheduler(_arrive, work)
        client.run(_arrive, work)
    except Exception as error:  # Dask passes an exception from there on as a plain Exception
        raise UserError(
            f"The Dask scheduler at {address} or its workers cannot run this project ({error}): start both in its "
            f"folder, where its requirements are installed, with {_SCHEDULER} and {_WORKER} {address}."
        ) from error


def _arrive(work: Callable[[Any], Any]) -> None:
    """Does nothing: that it arrives shows that a worker can import what the work needs."""


def _alone(work: Callable[[Any], Any], place: int, thing: Any, parent: int) -> WorkResult:
    if parent:
        _end_with(parent)
    with _one_core():
        return _one(work, place, thing)


def _one(work: Callable[[Any], Any], place: int, thing: Any) -> WorkResult:
    result, problem, bug = None, "", ""
    try:
        result = work(thing)
    except UserError as error:
        problem = str(error)
    except Exception as error:  # whatever one file of thousands does to a library: the others go on, and it is told
        problem, bug = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", traceback.format_exc()
    return WorkResult(place, result, problem, bug, f"{socket.gethostname()}:{os.getpid()}", peak_mb())


@cache
def _end_with(parent: int) -> None:
    """Ends this process soon after its parent, which may be killed; left alone, it would wait minutes for more work."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _one_core() -> Iterator[None]:
    """Keeps this thread, and those that it starts, to one core that no other worker on this machine has.

    A core is taken by a socket whose name only one can have; the system gives it back when the process ends.
    """
    if sys.platform != "linux":
        yield
        return
    allowed = os.sched_getaffinity(0)
    with socket.socket(socket.AF_UNIX) as claim:
        order = random.sample(sorted(allowed), len(allowed))  # containers of one machine do not see each other's claims
        core = next((core for core in order if _claimed(claim, core)), None)
        if core is not None:
            os.sched_setaffinity(0, {core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, allowed)


def _claimed(claim: socket.socket, core: int) -> bool:
    try:
        claim.bind(f"\0dsta-core-{core}")
    except OSError:
        return False
    return True
