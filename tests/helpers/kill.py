"""Ends a piece of code before any one of its changes to files, as SIGKILL would."""

import shutil
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

_CHANGES = [(Path, name) for name in ("mkdir", "write_bytes", "write_text", "replace", "unlink", "rmdir")]


class Killed(BaseException):
    """What no code catches, as no code catches SIGKILL."""


@contextmanager
def killed_before_change(number):
    """Kills what runs in it before its change to a file of that number, from 1; yields whether it did, in `killed`.

    For all numbers: `for i in count(1)`, until `killed` is False.
    """
    outcome, made = SimpleNamespace(killed=False), []

    def mortal(change):
        def called(*args, **options):
            made.append(change)
            if len(made) >= number:  # the dead change nothing more, whatever their `finally` says
                raise Killed
            return change(*args, **options)

        return called

    with pytest.MonkeyPatch.context() as patches:
        for owner, name in (*_CHANGES, (shutil, "rmtree")):
            patches.setattr(owner, name, mortal(getattr(owner, name)))
        try:
            yield outcome
        except Killed:
            outcome.killed = True
