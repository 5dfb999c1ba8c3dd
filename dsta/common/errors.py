"""The one exception that is meant for the person at the keyboard, and how command lines tell it."""

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable


class UserError(ValueError):
    """Bad input from a user: one clear sentence that says what is wrong and what to do.

    The command line prints it to stderr and exits with code 2; the page shows it. Anything else is a bug and
    stays a traceback.
    """


_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_READER_GONE = 141  # what a shell makes of a program that ends because nobody reads its output


def exit_code(work: Callable[[], int | None]) -> int:
    """Does a command line's work, and returns the code that it returns, or 0; 2 after a user's mistake, which is told
    on stderr.

    A disk that is full or may not be written to is told too. Text that the terminal cannot show, such as a file name in
    no encoding at all, is shown with question marks. Where nobody reads the output any more (`| head`), the end is
    quiet.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        code = work() or 0
        sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not _reader_gone():
            raise
        return _READER_GONE
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        where = error.filename or "A file"
        advice = "make room or give another place, and run the same command again; what was finished before is kept"
        print(f"{where} cannot be written ({error.strerror}): {advice}.", file=sys.stderr)
        return 2
    return code


def _reader_gone() -> bool:
    """Whether it is stdout whose reader is gone; what could not be written is then thrown away."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter fails at its end
        return True
    return False


def shown(text: str, instead: str) -> str:
    """A text that decorates stdout, or `instead` where stdout cannot show it."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return instead
    return text


def at_least(least: int) -> Callable[[str], int]:
    """For argparse's `type`: a whole number that is not below `least`."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number, {least} or above")
        return int(text)

    return number
