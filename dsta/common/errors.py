"""The one exception that is meant for the person at the keyboard, and how command lines tell it."""

import argparse
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


def at_least(least: int) -> Callable[[str], int]:
    """For argparse's `type`: a whole number that is not below `least`."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number, {least} or above")
        return int(text)

    return number
