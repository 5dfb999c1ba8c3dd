"""Imports at the start of a command."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lasting() -> Iterator[None]:
    """What is imported within stays to the end: the garbage collector looks through its objects, of torch alone
    166 000, neither meanwhile nor later nor when the interpreter ends. That is a quarter of a short command's time. For
    commands alone, as it holds for all objects of the process.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if on:
            gc.enable()
