"""How much memory a process has used, and how much processes may share."""

import os
import shutil
import sys
from pathlib import Path

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
