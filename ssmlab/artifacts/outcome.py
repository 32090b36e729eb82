"""How a stage at work ends, as its heartbeat records it and as the user reads it."""

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
    """Record in the heartbeat how the work in this block breaks off, and raise one line for the user.

    A block that ends normally closes the heartbeat itself: only it knows whether it finished or was asked to stop.

    Args:
        on_event: gets the end as a warning.
        stopped: what Ctrl-C has stopped, in words ("attack on run ads stopped").
        kept: what the early end leaves untouched, and how to continue.
        explain: an exception in one line, or None for one that should be raised as it is.

    Raises:
        Interrupted: instead of KeyboardInterrupt.
        UserError: instead of every exception that `explain` has a line for.
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
    """Record an early end. A failure to record it (disk full) is not raised: the user must read the first cause."""
    with suppress(UserError, OSError):
        heart.close(state, message)
        on_event(Note(message, warning=True))


def first_line(error: Exception) -> str:
    """An error in one line, with its type unless it was written for the user."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return text.splitlines()[0]
