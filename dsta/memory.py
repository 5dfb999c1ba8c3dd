"""How much memory a process has used."""

import sys
from pathlib import Path


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
