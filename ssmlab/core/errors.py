"""The one kind of error a user meets: a single line that says what is wrong and what to do next."""


class UserError(Exception):
    """Something the person at the keyboard can mend. The CLI prints it as one line and exits with `code`."""

    code = 1


class ProtocolMismatch(UserError):
    """Results that were measured under different protocols were about to be put side by side."""

    code = 3


class RankError(UserError):
    """An error that only one rank sees: it is printed even if it is not rank 0."""


class Interrupted(UserError):
    """A stage was told to stop (Ctrl-C, SIGTERM) and has put everything in order."""

    code = 130
