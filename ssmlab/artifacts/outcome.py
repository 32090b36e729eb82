"""Records how a running stage ends, in its heartbeat and as a message for the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ssmlab.artifacts.heartbeat import HeartbeatWriter, Stored
from ssmlab.core.errors import Interrupted, UserError
from ssmlab.core.events import Listener, Note


@contextmanager
def recording_outcome(
    heart: HeartbeatWriter,
    on_event: Listener,
    stopped: Callable[[], str],
    kept: Callable[[], str],
    explain: Callable[[Exception], str | None],
) -> Iterator[None]:
    """Record in the heartbeat if the work in this block stops early, and raise an error with one line for the user.

    A block that ends normally must close the heartbeat itself: only the block knows whether it finished or was asked to
    stop.

    Args:
        on_event: receives the early end as a warning.
        stopped: returns a message for Ctrl-C ("attack on run ads stopped").
        kept: returns a message that says what remains unchanged, and how to continue.
        explain: returns an exception as one line, or None if it should be raised unchanged.

    Raises:
        Interrupted: instead of KeyboardInterrupt.
        UserError: instead of every exception for which `explain` returns a line.
    """
    try:
        yield
    except KeyboardInterrupt:
        message = stopped()
        close_early(heart, on_event, "stopped", message)
        raise Interrupted(f"{message}; {kept()}") from None
    except Exception as error:
        line = explain(error)
        close_early(heart, on_event, "failed", line or first_line(error))
        if line is None:
            raise
        raise UserError(f"{line}; {kept()}") from None


def close_early(heart: HeartbeatWriter, on_event: Listener, state: Stored, message: str) -> None:
    """Record an early end. An error while recording (disk full) is not raised: the user must see the first cause."""
    with suppress(UserError, OSError):
        heart.close(state, message)
        on_event(Note(message, warning=True))


def first_line(error: Exception) -> str:
    """An error as one line, with its type unless it is a UserError."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return text.splitlines()[0]
