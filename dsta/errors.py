"""The one exception that is meant for the person at the keyboard, and how command lines tell it."""

import argparse
import re
import sys
from collections.abc import Callable


class UserError(ValueError):
    """Bad input from a user: one clear sentence that says what is wrong and what to do.

    The command line prints it to stderr and exits with code 2; the page shows it. Anything else is a bug and
    stays a traceback.
    """


def exit_code(work: Callable[[], object]) -> int:
    """Does a command line's work: 0, or 2 after a user's mistake, which is told on stderr."""
    try:
        work()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def chosen_device(asked: str, gpus: int) -> str:
    """`cpu`, `cuda` or `cuda:N`, as asked for on a machine with so many GPUs; `auto` is a GPU where there is one.

    Raises UserError for any other name, and for a GPU that is not there.
    """
    if asked == "auto":
        return "cuda" if gpus else "cpu"
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", asked)
    if not found:
        raise UserError(f"--device {asked} is not known: give auto, cpu, cuda or cuda:1.")
    if asked != "cpu" and not gpus:
        raise UserError("No GPU was found: run with --device cpu.")
    if found[1] and int(found[1]) >= gpus:
        raise UserError(f"There is no GPU {asked}: the last one here is cuda:{gpus - 1}.")
    return asked


def at_least(least: int) -> Callable[[str], int]:
    """For argparse's `type`: a whole number that is not below `least`."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number, {least} or above")
        return int(text)

    return number
