"""Whether other work ran on the machine while something was timed here.

The load average cannot say it: it falls over minutes, and our own processes are in it.
"""

import os
import time
from pathlib import Path

BUSY = 0.5
"""Cores that others may keep busy before a row has to say so."""
_SHORTEST = 0.5  # seconds; the system counts in ticks of ten milliseconds


class Others:
    """How many cores other programs than this one, with its child processes, kept busy between entering and leaving.

    cores: the mean, or None where the system does not tell (only Linux does) or the time was too short.
    """

    def __init__(self) -> None:
        self.cores: float | None = None

    def __enter__(self) -> "Others":
        self._began, self._busy = time.monotonic(), _seconds_of_others()
        return self

    def __exit__(self, *error: object) -> None:
        seconds, busy = time.monotonic() - self._began, _seconds_of_others()
        if self._busy is not None and busy is not None and seconds >= _SHORTEST:
            self.cores = max(0.0, (busy - self._busy) / seconds)


def _seconds_of_others() -> float | None:
    """Seconds of all cores since the start of the machine that were not ours; what a host gave to other guests too."""
    try:
        first = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
        user, nice, system, _, _, irq, softirq, steal = map(int, first)
        ours = _ticks_of_ours()
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal - ours) / os.sysconf("SC_CLK_TCK")


def _ticks_of_ours() -> int:
    """Processor time of this process and all below it; of several started by torchrun, of those on this machine."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            cells = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile: its parent has its time
            continue
        pid = int(path.parent.name)
        parents[pid], ticks[pid] = int(cells[1]), sum(map(int, cells[11:15]))
    top = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else os.getpid()
    ours = {top}
    while new := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= new
    return sum(ticks.get(pid, 0) for pid in ours)
