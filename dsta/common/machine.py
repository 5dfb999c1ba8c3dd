"""The machine: cores, processor, how much memory a process has used and how much processes may share. No torch."""

import os
import platform
import shutil
import sys
from pathlib import Path

from joblib import cpu_count

SHARED = "/dev/shm"  # where Linux keeps what processes share


def peak_mb() -> float:
    """The most resident memory of this process so far, in MB.

    On Linux not by getrusage, which passes on to a started process what its parent had used.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 2**10
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def with_room(workers: int, ahead: int, each: int) -> dict[str, int]:
    """How many workers a torch DataLoader may have, and how many batches of `each` bytes each may have ready: `workers`
    and `ahead`, or fewer where those would take more than half of the shared memory that is free here.

    In a container that is often 64 MB in all, and a worker that finds it full is killed.
    """
    try:
        room = shutil.disk_usage(SHARED).free // (2 * each * int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    except OSError:  # not Linux
        room = workers * ahead
    workers = min(workers, room)
    return {"num_workers": workers, "prefetch_factor": min(ahead, room // workers)} if workers else {}


def cores() -> int:
    """How many processor cores this process may use."""
    return cpu_count()


def cpu_name() -> str:
    """The processor's model, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
