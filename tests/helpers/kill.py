"""Ends a piece of code before any one of its changes to files, as SIGKILL would."""

import shutil
from itertools import count
from pathlib import Path

import pytest

_CHANGES = [(Path, name) for name in ("mkdir", "write_bytes", "write_text", "replace", "unlink", "rmdir")]


class Killed(BaseException):
    """What no code catches, as no code catches SIGKILL."""


def each_kill(folder, work):
    """Calls `work()` on the folder as it is now, killed before its first change of a file, before its second and so
    on; yields after each kill, more than ten times, and ends with a call that nothing kills."""
    before = shutil.copytree(folder, folder.with_name("before"))
    for number in count(1):
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        with pytest.MonkeyPatch.context() as patches:
            made = []
            for owner, name in (*_CHANGES, (shutil, "rmtree")):
                patches.setattr(owner, name, _mortal(getattr(owner, name), made, number))
            try:
                work()
                break
            except Killed:
                pass
        yield
    assert number > 10


def _mortal(change, made, number):
    def called(*args, **options):
        made.append(change)
        if len(made) >= number:  # the dead change nothing more, whatever their `finally` says
            raise Killed
        return change(*args, **options)

    return called
