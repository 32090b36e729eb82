"""Errors for users: a single line that says what is wrong and what to do next."""


class UserError(Exception):
    """Something that the user can fix. The CLI prints it as one line and exits with `code`."""

    code = 1


class ProtocolMismatch(UserError):
    """A comparison of results with different protocols was asked for."""

    code = 3


class RankError(UserError):
    """An error that only one rank sees: it is printed even if it is not rank 0."""


class Interrupted(UserError):
    """A stage was stopped (Ctrl-C, SIGTERM) and has cleaned up."""

    code = 130


def disk_error_in(error: BaseException | None) -> OSError | None:
    """The OSError that an error is or was made of; None if there is none, or only a missing file.

    The file may then be sound, and reading it again may succeed.
    """
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return error
        error = error.__cause__ or error.__context__
    return None
