"""Errors that a user can mend: told in one line, never as a traceback."""


class SpeckleRecError(Exception):
    """A known failure of the work itself (exit status 1)."""


class InputError(SpeckleRecError):
    """Bad input or usage (exit status 2).

    The message is one line: file, dataset, what was expected, what was found, how to mend it.
    """
