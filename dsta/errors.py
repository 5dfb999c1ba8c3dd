"""The one exception that is meant for the person at the keyboard."""


class UserError(ValueError):
    """Bad input from a user: one clear sentence that says what is wrong and what to do.

    The command line prints it to stderr and exits with code 2; the page shows it. Anything else is a bug and
    stays a traceback.
    """
